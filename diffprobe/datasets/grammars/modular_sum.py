"""Digits whose sum is a multiple."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class ModularSumConfig(GrammarKind):
    """Words of digits 0 … base-1 whose sum is 0 modulo `modulus`."""

    name: ClassVar[str] = "modular-sum"
    length: int = 4
    base: int = 10
    modulus: int = 10

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length, base=self.base, modulus=self.modulus)

    def language(self) -> "Grammar":
        """Return an automaton that remembers the sum modulo `modulus`."""
        import torch

        from diffprobe.datasets.inference.automaton import Automaton

        table = (torch.arange(self.modulus)[:, None] + torch.arange(self.base)) % self.modulus
        return Automaton(table, accept=[0], length=self.length)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"off by 1": …, "off by -1": …}: the sum modulo `modulus`, nearest 0."""
        remainder = words.sum(1) % self.modulus
        kinds = {}
        for r in range(1, self.modulus):
            off = r if r <= self.modulus // 2 else r - self.modulus
            kinds[f"off by {off}"] = remainder == r
        return kinds
