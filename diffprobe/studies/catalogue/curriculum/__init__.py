"""Does the decay of the learning rate waste the best data of a curriculum?

The question of Luo et al., "How Learning Rate Decay Wastes Your Best Data in Curriculum-Based LLM
Pretraining" (arXiv:2511.18903), asked in a world whose clean language is known.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Curriculum(StudyKind):
    """Whether decay wastes the best data of a curriculum, and averages of weights save it."""

    name: ClassVar[str] = "curriculum"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grid that lies beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
