"""What does Adam prefer among the minima? Sparse regression, matrices, and denoisers."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Sharpness(StudyKind):
    """Which sharpness falls under which optimizer: with label noise, and in denoisers."""

    name: ClassVar[str] = "sharpness"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids that lie beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
