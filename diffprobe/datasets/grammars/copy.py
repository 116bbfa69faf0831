"""Words said twice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class CopyConfig(GrammarKind):
    """Words whose second half repeats the first: V^(L/2) of them."""

    name: ClassVar[str] = "copy"
    length: int = 6
    symbols: int = 2

    def __post_init__(self) -> None:
        check_positive(length=self.length, symbols=self.symbols)
        if self.length % 2:
            raise UsageError(f"a copy needs an even length, not {self.length}")

    def language(self) -> "Grammar":
        """Return an automaton that reads each cell and then its copy."""
        from diffprobe.datasets.inference.pairs import equal_pairs

        return equal_pairs(self.length, self.symbols, self._partners)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"cell 3 differs from cell 0": (N,) bool, …}, one kind a pair."""
        return {
            f"cell {second} differs from cell {first}": words[:, first] != words[:, second]
            for first, second in self._partners
        }

    @property
    def _partners(self) -> list[tuple[int, int]]:
        half = self.length // 2
        return [(i, i + half) for i in range(half)]
