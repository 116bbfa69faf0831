"""What copies and palindromes share: cells that are equal in pairs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class PairsKind(GrammarKind):
    """Words in which each cell of one half equals its partner in the other."""

    length: int = 6
    symbols: int = 2

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length, symbols=self.symbols)

    @property
    @abstractmethod
    def partners(self) -> list[tuple[int, int]]:
        """The pairs of cells, all but the middle one of an odd length."""

    def language(self) -> "Grammar":
        """Return an automaton that reads each cell and then its partner."""
        from diffprobe.datasets.inference.pairs import equal_pairs

        return equal_pairs(self.length, self.symbols, self.partners)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"cell 3 differs from cell 0": (N,) bool, …}, one kind a pair."""
        return {
            f"cell {second} differs from cell {first}": words[:, first] != words[:, second]
            for first, second in self.partners
        }
