"""The studies that `diffprobe study` can be asked for by name, one a file."""

from abc import ABC, abstractmethod
from typing import ClassVar

from diffprobe.foundations.kinds import Kind
from diffprobe.studies.grid import Grid

# What a study costs: seconds, half an hour on two cores, a GPU.
SCALES = ("tiny", "cpu", "gpu")


class StudyKind(Kind, ABC):
    """One or several questions, each a grid of runs with claims about it."""

    role: ClassVar[str] = "study"

    @abstractmethod
    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids at a scale, one of `SCALES`, in the order in which they are asked."""
