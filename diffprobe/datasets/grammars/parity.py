"""Parity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class ParityConfig(GrammarKind):
    """Words of two symbols with an even number of the second: 2^(L-1) of them.

    No proper subset of cells says anything about the rest, so the rule is invisible to any
    measurement that is not global.
    """

    name: ClassVar[str] = "parity"
    length: int = 6

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length)

    def language(self) -> "Grammar":
        """Return an automaton that remembers the parity."""
        from diffprobe.datasets.inference.automaton import Automaton

        return Automaton([[0, 1], [1, 0]], accept=[0], length=self.length)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"odd parity": (N,) bool}."""
        return {"odd parity": words.sum(1) % 2 == 1}
