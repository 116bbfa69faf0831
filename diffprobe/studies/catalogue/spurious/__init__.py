"""Are hallucinations that a spurious correlation suggests confident, and can anything see them?

The question of arXiv:2511.07318, where a surname foretells nationality with probability rho, asked
of denoisers that are given keys: entities that they were trained on, and others of the same
families that they have never seen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Spurious(StudyKind):
    """Whether what a family foretells is asserted of the unknown, and whether anything tells."""

    name: ClassVar[str] = "spurious"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids that lie beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
