"""Palindromes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class PalindromeConfig(GrammarKind):
    """Words that read the same from either end: V^ceil(L/2) of them."""

    name: ClassVar[str] = "palindrome"
    length: int = 6
    symbols: int = 2

    def __post_init__(self) -> None:
        check_positive(length=self.length, symbols=self.symbols)

    def language(self) -> "Grammar":
        """Return an automaton that reads from both ends at once."""
        from diffprobe.datasets.inference.pairs import equal_pairs

        return equal_pairs(self.length, self.symbols, self._partners)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"cell 5 differs from cell 0": (N,) bool, …}, one kind a pair."""
        return {
            f"cell {second} differs from cell {first}": words[:, first] != words[:, second]
            for first, second in self._partners
        }

    @property
    def _partners(self) -> list[tuple[int, int]]:
        return [(i, self.length - 1 - i) for i in range(self.length // 2)]
