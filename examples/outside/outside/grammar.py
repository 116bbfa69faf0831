"""Words of two symbols in which no two ones are neighbours."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.datasets.inference.automaton import Automaton


@dataclass(frozen=True)
class NoDoubleOne(GrammarKind):
    """Words of two symbols in which no two ones are neighbours."""

    name: ClassVar[str] = "no-double-one"
    length: int = 6

    def language(self) -> Automaton:
        """Remember whether the last symbol was a one; a second one is the end of it."""
        return Automaton([[0, 1], [0, -1]], accept=[0, 1], length=self.length)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Tell which pair of neighbours comes first."""
        both = (words[:, :-1] == 1) & (words[:, 1:] == 1)
        first = both & (both.cumsum(1) == 1)
        return {f"ones at {i} and {i + 1}": first[:, i] for i in range(self.length - 1)}
