"""Is it best to train in the proportions of the test?

The question of arXiv:2510.25108, asked of two families of facts that a denoiser is to recall: where
what it has not seen is what it errs in, and where it has no time to learn what it sees.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class ProportionsStudy(StudyKind):
    """Whether data in other proportions than the test's are better to train on."""

    name: ClassVar[str] = "proportions"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grids that lie beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
