"""A training that tells trackers how it goes."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffprobe.config import Config
from diffprobe.foundations.errors import DiffprobeError
from diffprobe.foundations.progress import Progress
from diffprobe.training import loop
from diffprobe.training.horizon import checkpoint_steps
from diffprobe.training.run_folder import Branch, RunFolder
from diffprobe.training.state import TrainingState

if TYPE_CHECKING:
    from diffprobe.tracking.looks import Looks
    from diffprobe.tracking.trackers import Trackers

logger = logging.getLogger("diffprobe")


def train(
    config: Config,
    out: str | Path,
    device: str = "auto",
    progress: Progress | bool = True,
    *,
    branch: Branch | None = None,
) -> RunFolder:
    """Train a denoiser, or continue or recognise a training of the same configuration in `out`.

    The trackers that `training.log_with` names are told of the losses and the learning rate at each
    line of metrics, of samples and their rates at each checkpoint, and of the LDR every
    `training.probe_every` steps.

    Args:
        config: What to train; see `diffprobe.config`.
        out: The run folder.
        device: "auto", "cpu", "cuda", "cuda:1", …
        progress: Whether to show it, or what is called as tqdm is.
        branch: Another run's step to start from instead of fresh weights.

    Returns:
        The run folder, training done.

    Raises:
        UsageError: If there is no such tracker, or it is not installed; and else as
            `diffprobe.training.train`, as are the other errors.
    """
    watch = _watch(config) if config.training.log_with else None
    return loop.train(config, out, device, progress, branch=branch, watch=watch)


def _watch(config: Config) -> loop.Watch:
    # What looks at samples takes time to import, and most trainings are not looked at.
    from diffprobe.tracking.looks import Looks
    from diffprobe.tracking.trackers import Trackers, check_trackers

    names = check_trackers(config.training.log_with)

    @contextmanager
    def watch(
        run: RunFolder, state: TrainingState
    ) -> Iterator[Callable[[Mapping[str, Any] | None], None]]:
        with Trackers(names, run, config, state.step) as trackers:
            follower = _Follower(config, trackers, Looks(config, run, state), state)
            if trackers.told < state.step:  # a kill came between, or they are new
                lines = (line for line in run.metrics() if line["step"] == state.step)
                follower(next(lines, None))
            yield follower

    return watch


class _Follower:
    """Tells the trackers what is due after a step."""

    def __init__(
        self, config: Config, trackers: "Trackers", looks: "Looks", state: TrainingState
    ) -> None:
        settings = config.training
        self.trackers, self.looks, self.state = trackers, looks, state
        self.sampled = frozenset(checkpoint_steps(settings.steps, settings.checkpoints))
        self.probe_every = settings.probe_every

    def __call__(self, line: Mapping[str, Any] | None) -> None:
        """Tell of a line of metrics, and look at what is to be looked at."""
        step = self.state.step
        if line is not None:
            self.trackers.log({name: v for name, v in line.items() if isinstance(v, float)}, step)
        told: dict[str, float] = {}
        try:
            if step in self.sampled:
                images, rates = self.looks.samples()
                self.trackers.log_images({"samples": images}, step)
                told |= rates
            if self.probe_every and step % self.probe_every == 0:
                told |= self.looks.locality()
        except DiffprobeError as error:
            logger.warning("step %s could not be looked at: %s", f"{step:,}", error)
        if told:
            self.trackers.log(told, step)
        self.trackers.told = step
