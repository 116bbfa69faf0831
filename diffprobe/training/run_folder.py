"""The run folder: everything one training produced.

config.json     the resolved configuration, with versions, device, threads and seed
metrics.jsonl   one line per log step
losses.f32      the loss of every step, float32, little-endian, one after another
checkpoints/    step-000016/ … at log-spaced steps: every set of weights as a diffusers folder
state.safetensors   what a training needs to go on: weights, averages, the optimizer's moments
states/         step-000800.safetensors …: the same at the steps of training.keep_states
logs/           what the trackers of training.log_with keep here, and what they call the run
lock            held by the training that writes here, and says who that is
samples/ probes/ report/ loss.png   what the other commands add
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from diffprobe.config import Config, from_settings
from diffprobe.foundations.atomic import PARTIAL, append, atomic_file, remove_partials, write_text
from diffprobe.foundations.errors import CheckpointError, NotFoundError, UsageError
from diffprobe.foundations.lock import one_writer
from diffprobe.foundations.records import read_json
from diffprobe.foundations.settings import differences, to_settings
from diffprobe.foundations.tables import SHOWN, Table, html_table
from diffprobe.training import losses, metrics
from diffprobe.training.description import description, identity

if TYPE_CHECKING:
    import torch

LOCK = "lock"

logger = logging.getLogger("diffprobe")


@dataclass(frozen=True)
class Branch:
    """A step of another run to start from.

    Attributes:
        run: Its folder, as given.
        step: At which its optimizer's state was kept: one of `training.keep_states`, or its last.
    """

    run: Path
    step: int

    @classmethod
    def parse(cls, text: str) -> "Branch":
        """Read `RUN@STEP`.

        Raises:
            UsageError: If it is not of that form.
        """
        run, at, step = text.rpartition("@")
        if not at or not run or not step.isdecimal():
            raise UsageError(f"{text!r} is not of the form RUN@STEP")
        return cls(Path(run), int(step))

    @property
    def state_path(self) -> Path:
        """The file of the state to start from.

        Raises:
            CheckpointError: If there is none.
        """
        source = RunFolder(self.run)
        source.description()
        kept = source.kept_steps()
        if self.step in kept:
            return kept[self.step]
        known = ", ".join(f"{step:,}" for step in sorted(kept)) or "none"
        raise NotFoundError(
            f"{self.run} keeps no state of step {self.step:,} (it has: {known}); "
            "train it with training.keep_states to have more"
        )


@dataclass(frozen=True)
class RunFolder(Table):
    """A folder `path` laid out as this module describes."""

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return the metrics, a row for each log step; `metrics` has what is told by level too."""
        return [
            {name: value for name, value in line.items() if not isinstance(value, dict)}
            for line in self.metrics()
        ]

    def _repr_html_(self) -> str:
        return html_table(self.rows()[-SHOWN:], f"{self.path}: its last metrics")

    @classmethod
    def open(
        cls,
        path: Path,
        config: Config,
        device: "torch.device",
        branch: Branch | None = None,
        replicas: int = 1,
    ) -> "RunFolder":
        """Create the folder, or return to one that trains the same.

        The same is what changes a step; how far training goes and how often it is looked at may
        differ.

        Raises:
            CheckpointError: If the folder is damaged.
            UsageError: If it holds something else, or another training.
        """
        run = cls(path)
        if run.is_described:
            changed = differences(identity(config, branch), identity(*run._trained()))
            if changed:
                more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
                raise UsageError(
                    f"{path} holds a run of another configuration "
                    f"({'; '.join(changed[:4])}{more}); "
                    "choose another folder with --out, or delete it"
                )
        else:
            run._check_place()
            run._describe(description(config, device, branch, replicas))
        remove_partials(path)
        return run

    @property
    def is_described(self) -> bool:
        """Whether there is a config.json, as in every run folder."""
        return (self.path / "config.json").exists()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Be the one process that writes here.

        Raises:
            InUseError: If another one is.
            UsageError: If this is a folder of something else.
        """
        if not self.is_described:
            self._check_place()
        self.path.mkdir(parents=True, exist_ok=True)
        with one_writer(self.path / LOCK, str(self.path)):
            yield

    def is_finished(self, config: Config, branch: Branch | None = None) -> bool:
        """Whether just this training, as far as it is to go, is done."""
        if not self.is_described or not self.checkpoint_path(config.training.steps).exists():
            return False
        was, origin = self._trained()
        same = not differences(identity(config, branch), identity(was, origin))
        return same and was.training == config.training

    def _check_place(self) -> None:
        ours = (LOCK, PARTIAL)  # of a training that has not got as far as its config.json
        if self.path.is_dir():
            if all(inside.name.startswith(ours) for inside in self.path.iterdir()):
                return
        elif not self.path.exists():
            return
        raise UsageError(f"{self.path} exists and is not a run folder; choose another with --out")

    def change_horizon(self, config: Config) -> None:
        """Write down how far training goes now."""
        content = self.description()
        ours = to_settings(config)["training"]
        if content["config"]["training"] != ours:
            content["config"]["training"] = ours
            self._describe(content)

    def _describe(self, content: Mapping[str, Any]) -> None:
        write_text(self.path / "config.json", json.dumps(content, indent=2) + "\n")

    def _trained(self) -> tuple[Config, Branch | None]:
        origin = self.description().get("branch")
        branch = Branch(Path(origin["run"]), origin["step"]) if origin else None
        return self.config(), branch

    def config(self) -> Config:
        """Return the configuration the run was trained with.

        Raises:
            CheckpointError: If there is none, or it is damaged.
        """
        settings = self.description()["config"]
        try:
            return from_settings(settings)
        except UsageError as error:
            raise CheckpointError(f"{self.path / 'config.json'} is damaged: {error}") from error

    def description(self) -> dict[str, Any]:
        """Return what config.json holds: the settings, versions, device, threads and seed."""
        path = self.path / "config.json"
        try:
            content = read_json(path)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.path} is not a run folder: no config.json") from error
        if not isinstance(content.get("config"), dict):
            raise CheckpointError(f"{path} is not the configuration of a diffprobe run")
        return content

    @property
    def metrics_path(self) -> Path:
        """The file of metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per log step; a damaged line is left out with a warning."""
        return metrics.read(self.metrics_path)

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line of metrics."""
        append(self.metrics_path, metrics.encode(line))

    def forget_after(self, step: int) -> None:
        """Drop the metrics and losses of steps that will be trained again."""
        lines = self.metrics()
        known = self.losses(lines)
        kept = [line for line in lines if line["step"] <= step]
        with atomic_file(self.metrics_path) as partial:
            partial.write_bytes(b"".join(map(metrics.encode, kept)))
        losses.keep(self.losses_path, known, max(0, step - self.first_step()))

    @property
    def losses_path(self) -> Path:
        """The file of the loss of every step."""
        return self.path / "losses.f32"

    def append_losses(self, values: Sequence[float]) -> None:
        """Add the losses of the steps that were done since the last call."""
        append(self.losses_path, losses.encode(values))

    def losses(self, lines: Sequence[Mapping[str, Any]] | None = None) -> NDArray[np.float32]:
        """Return the loss of every step, of a branch from the step on at which it began.

        Those that are not as they were written are not numbers, with a warning.

        Args:
            lines: Of metrics, where they are read already.
        """
        found = losses.read(self.losses_path).copy()
        first = self.first_step()
        for block in losses.damaged(found, self.metrics() if lines is None else lines, first):
            found[block] = np.nan
            logger.warning(
                "%s is damaged: the losses of steps %s to %s are left out",
                self.losses_path,
                f"{first + block.start + 1:,}",
                f"{first + block.stop:,}",
            )
        with np.errstate(invalid="ignore"):  # of which a flipped bit can make signalling ones
            found[np.isnan(found)] = np.nan
        return found

    def checkpoint_path(self, step: int) -> Path:
        """Return the folder of the checkpoint at `step`."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    @property
    def state_path(self) -> Path:
        """The file of the latest state."""
        return self.path / "state.safetensors"

    def kept_state_path(self, step: int) -> Path:
        """Return the file of a state that is kept."""
        return self.path / "states" / f"step-{step:06d}.safetensors"

    def kept_steps(self) -> dict[int, Path]:
        """Return the file of the state at each step that has one, the latest included."""
        kept = self._kept()
        if (step := self.steps_done()) and step not in kept:
            kept[step] = self.state_path
        return kept

    def states(self) -> list[Path]:
        """Return the files of all states, the latest first."""
        kept = [path for _, path in sorted(self._kept().items(), reverse=True)]
        return [path for path in (self.state_path, *kept) if path.exists()]

    def _kept(self) -> dict[int, Path]:
        return {
            int(name): path
            for path in (self.path / "states").glob("step-*.safetensors")
            if (name := path.stem.removeprefix("step-")).isdecimal()
        }

    def steps_done(self) -> int:
        """Return the step of the latest state; 0 where there is none.

        Raises:
            CheckpointError: If it is damaged.
        """
        if not self.state_path.exists():
            return 0
        try:
            with safe_open(self.state_path, "np") as opened:  # read without torch
                return int(json.loads(opened.metadata()["state"])["step"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointError(
                f"the state in {self.state_path} is damaged ({error}); "
                "delete it to train from the start"
            ) from error

    def steps_known(self) -> int:
        """Return how many steps are done, by the state or else by the checkpoints."""
        try:
            done = self.steps_done()
        except CheckpointError:
            done = 0
        return max([done, *self.checkpoint_steps()])

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of the checkpoints, in order."""
        names = (path.name for path in (self.path / "checkpoints").glob("step-*"))
        return sorted(int(s) for name in names if (s := name.removeprefix("step-")).isdecimal())

    def last_written(self) -> datetime | None:
        """Return when training last wrote, in local time; None before its first line."""
        if not self.metrics_path.exists():
            return None
        return datetime.fromtimestamp(self.metrics_path.stat().st_mtime)

    def first_step(self) -> int:
        """Return the step at which training began: 0, or that of a branch."""
        origin = self.description().get("branch")
        return int(origin["step"]) if origin else 0


def validation_loss_of(weights: str) -> str:
    """Return the name in the metrics of the validation loss of a set of weights."""
    return "validation_loss" if weights == "raw" else f"validation_loss_{weights}"


def run_of_checkpoint(path: Path) -> RunFolder | None:
    """Return the run folder that `path` is, or is a checkpoint of; None for a foreign folder."""
    # As it was written if that will do; resolved where it is "." or the like.
    for folder in (path, path.parent.parent, path.resolve().parent.parent):
        if (folder / "config.json").exists() and (folder / "checkpoints").is_dir():
            return RunFolder(folder)
    return None
