"""What is data worth that is seen again? The theory's regression, and denoisers."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Reuse(StudyKind):
    """How much fresh data many passes are worth: linear regression, exactly, and denoisers."""

    name: ClassVar[str] = "reuse"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids that lie beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
