"""Is local generation bias real, in whom, when, and what mends it? A grid for each question."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Locality(StudyKind):
    """Is local generation bias real, in whom, when, and what mends it: eight questions."""

    name: ClassVar[str] = "locality"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids that lie beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
