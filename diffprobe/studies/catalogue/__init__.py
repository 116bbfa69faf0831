"""The studies that `diffprobe study` can be asked for by name: one a file, or a folder of grids.

A grid of a folder is written as a user's own, for the scale cpu; its tables [tiny] and [gpu] hold
what is otherwise at these scales. They are laid over it: tables merge, a list takes the place of
another.
"""

import tomllib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from diffprobe.foundations.errors import unknown_name
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.settings import overlay
from diffprobe.studies.grid import Grid, grid_of

# What a study costs: seconds, half an hour on two cores, a GPU.
SCALES = ("tiny", "cpu", "gpu")
# What makes tiny seconds.
TINY = {
    "training.batch_size": 32,
    "training.validation_size": 32,
    "sampling.n": 32,
    "sampling.steps": 4,
    "probe.images": 16,
    "probe.levels": 4,
    "probe.grammar_images": 16,
    "probe.grammar_levels": 7,
    "probe.along_samples": 32,
    "probes.placement.images": 16,
    "probes.placement.levels": 7,
}


class StudyKind(Kind, ABC):
    """One or several questions, each a grid of runs with claims about it."""

    role: ClassVar[str] = "study"

    @abstractmethod
    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids at a scale, one of `SCALES`, in the order in which they are asked."""


def grids_in(folder: Path, scale: str) -> tuple[Grid, ...]:
    """Return the grids of a folder in the order of the numbers that their names begin with.

    Raises:
        UsageError: If there is no such scale, or a file holds what a grid does not know.
    """
    check_scale(scale)
    files = sorted(folder.glob("[0-9]*.toml"), key=lambda file: int(file.name.partition("-")[0]))
    return tuple(grid_of(_at(scale, file), folder) for file in files)


def check_scale(scale: str) -> None:
    """Raise UsageError, naming the nearest, unless there is such a scale.

    Raises:
        UsageError: If there is none.
    """
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)


def _at(scale: str, file: Path) -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    of_scale = {each: settings.pop(each, {}) for each in SCALES}
    laid = overlay(settings, of_scale[scale])
    if scale == "tiny" and "computation" not in laid:
        groups = (laid.get("settings", {}), *laid.get("together", []))
        varied = {key for group in groups for key in group}
        small = {key: value for key, value in TINY.items() if key not in varied}
        laid = overlay(overlay(settings, {"fixed": small}), of_scale[scale])
    return laid
