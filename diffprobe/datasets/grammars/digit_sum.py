"""Sums of digits in a 2×2 grid."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar

SPAN = 18  # the largest difference on the way, of 9 + 9 and nothing


@dataclass(frozen=True)
class DigitSumConfig(GrammarKind):
    """Four digits a, b, c, d in a 2×2 grid with a + b = c + d: 670 words.

    Reference:
        The rule of Quarter-MNIST in Lu et al., arXiv:2503.03595, section 5.
    """

    name: ClassVar[str] = "digit-sum"

    @property
    def length(self) -> int:
        """Four cells."""
        return 4

    def language(self) -> "Grammar":
        """Return an automaton that remembers a + b - c - d."""
        import torch

        from diffprobe.datasets.inference.automaton import Automaton

        difference = torch.arange(-SPAN, SPAN + 1)[:, None]
        digit = torch.arange(10)
        steps = []
        for sign in (1, 1, -1, -1):
            following = difference + sign * digit
            steps.append(torch.where(following.abs() <= SPAN, following + SPAN, -1))
        return Automaton(torch.stack(steps), accept=[SPAN], start=SPAN)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"off by 1": …, "off by -18": …}, (N,) bool each: a + b - c - d."""
        difference = words[:, :2].sum(1) - words[:, 2:].sum(1)
        sizes = [d for size in range(1, SPAN + 1) for d in (size, -size)]
        return {f"off by {d}": difference == d for d in sizes}
