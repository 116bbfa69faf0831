"""Trackers by accelerate's names for them, none of which can stop a training."""

import json
import logging
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from types import TracebackType
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType
from numpy.typing import NDArray

from diffprobe.config import Config
from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.errors import FullDiskError, UsageError, first_line, unknown_name
from diffprobe.foundations.settings import leaves, to_settings
from diffprobe.training.run_folder import RunFolder

logger = logging.getLogger("diffprobe")

PROJECT = "diffprobe"
EXTRAS = ("tensorboard", "trackio")  # those that an extra of diffprobe installs
PATIENCE = 3  # failures in a row after which a tracker is left alone


def check_trackers(names: Sequence[str]) -> list[str]:
    """Return the trackers that are named, each once.

    Raises:
        UsageError: If accelerate knows none of that name, naming the nearest; or it is not
            installed, with the command that does it.
    """
    known = [tracker.value for tracker in LoggerType if tracker != LoggerType.ALL]
    installed = [LoggerType(tracker).value for tracker in get_available_trackers()]
    for name in names:
        if name not in known:
            raise unknown_name("tracker", name, known)
        if name not in installed:
            package = f"'diffprobe[{name}]'" if name in EXTRAS else name
            raise UsageError(
                f"the tracker {name} needs a package that is not installed: pip install {package}"
            )
    return list(dict.fromkeys(names))


class Trackers:
    """Trackers of one run, open for as long as the block; what fails of one is said and left.

    A run that goes on goes on in the same run of TensorBoard, trackio and wandb.

    Args:
        names: As `check_trackers` returned them.
        run: Whose training it is.
        config: Of the training.
        step: Steps that are done already.

    Attributes:
        told: The step up to which all was told, and kept when the trackers were closed.
    """

    def __init__(self, names: Sequence[str], run: RunFolder, config: Config, step: int) -> None:
        self.names, self.run, self.config, self.step = names, run, config, step
        self.open: list[GeneralTracker] = []
        self.failures: Counter[str] = Counter()
        self.logs = run.path / "logs"
        self.told = 0

    def __enter__(self) -> "Trackers":
        logs = self.logs
        if (logs / "told").exists():
            text = (logs / "told").read_text("utf-8", errors="replace").strip()
            self.told = int(text) if text.isdecimal() else 0
        if not (logs / "name").exists():
            # A random part tells it from another run that was in a folder of this name.
            called = re.sub(r"[^\w.-]", "-", self.run.path.absolute().name)
            write_text(logs / "name", f"{called}-{secrets.token_hex(4)}\n")
        name = (logs / "name").read_text("utf-8").strip()
        for tracker in self.names:
            # Of its own: one that cannot begin would keep the others from it.
            accelerator = Accelerator(log_with=tracker, project_dir=logs)
            # TensorBoard would have them a second time.
            known = tracker == "tensorboard" and (logs / PROJECT).exists()
            settings = None if known else _flat(self.config)
            options = {tracker: self._options(name).get(tracker, {})}
            self._try(tracker, accelerator.init_trackers, PROJECT, settings, options)
            if not self.failures[tracker]:
                self.open += accelerator.trackers
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tracker in self.open:
            self._try(tracker.name, tracker.finish)
        # Not the last word of a training that the disk has no room for.
        with suppress(OSError, FullDiskError):
            write_text(self.logs / "told", f"{self.told}\n")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell all of them numbers at a step."""
        for tracker in self.open:
            self._try(tracker.name, tracker.log, dict(values), step=step)
        self._leave_out()

    def log_images(self, values: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Show images, (N, H, W, 3) by name, to those that take any."""
        for tracker in self.open:
            if (show := getattr(tracker, "log_images", None)) is not None:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                self._try(tracker.name, show, dict(values), step=step, **layout)
        self._leave_out()

    def _options(self, name: str) -> dict[str, dict[str, Any]]:
        """By tracker, what makes it go on in the run that it began."""
        return {
            # What was told of steps that a kill took back, or in part, is told again.
            "tensorboard": {"purge_step": self.step + (self.told >= self.step)},
            "trackio": {"name": name, "resume": "allow"},
            "wandb": {
                "name": name,
                "id": name,
                "resume": "allow",
                "dir": os.environ.get("WANDB_DIR", str(self.logs)),  # else the current folder
            },
        }

    def _try(self, name: str, call: Callable[..., Any], *given: Any, **options: Any) -> None:
        """Call a tracker, which may raise whatever it likes, and print on stderr."""
        try:
            with redirect_stdout(sys.stderr):
                call(*given, **options)
        except Exception as error:
            self.failures[name] += 1
            if self.failures[name] == 1:
                logger.warning("%s was not told: %s; training goes on", name, first_line(error))
        else:
            self.failures[name] = 0

    def _leave_out(self) -> None:
        for tracker in [t for t in self.open if self.failures[t.name] >= PATIENCE]:
            logger.warning("%s failed %d times, and is not told any more", tracker.name, PATIENCE)
            self.open.remove(tracker)


def _flat(config: Config) -> dict[str, bool | int | float | str]:
    """The settings by their paths, as trackers take them."""
    return {
        path: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for path, value in leaves(to_settings(config))
    }
