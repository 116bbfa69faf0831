"""How many steps of an assembly come out right, and which goes wrong first?

An analogue of the question of Tang et al., "LEGO-Puzzles: How Good Are MLLMs at Multi-Step Spatial
Reasoning?" (arXiv:2503.19990), asked of denoisers where every step has an exact verdict. It is no
evaluation of LEGO-Puzzles.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffprobe.studies.catalogue import StudyKind, grids_in
from diffprobe.studies.grid import Grid


@dataclass(frozen=True)
class Assembly(StudyKind):
    """How many steps of an assembly denoisers get right, and which of them goes wrong first."""

    name: ClassVar[str] = "assembly"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the grid that lies beside this file; see `StudyKind.questions`."""
        return grids_in(Path(__file__).parent, scale)
