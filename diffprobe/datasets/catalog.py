"""The grammars diffprobe ships."""

import torch
from torch import Tensor

from diffprobe.datasets.automaton import Automaton
from diffprobe.errors import UsageError


class Parity(Automaton):
    """Words of two symbols with an even number of the second: 2^(L-1) of them.

    No proper subset of cells says anything about the rest, so the rule is invisible to any
    measurement that is not global.
    """

    def __init__(self, length: int) -> None:
        super().__init__([[0, 1], [1, 0]], accept=[0], length=_positive("length", length))

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"odd parity": (N,) bool}."""
        self.check_words(words)
        return {"odd parity": words.sum(1) % 2 == 1}


class ModularSum(Automaton):
    """Words of digits `0 … base-1` whose sum is 0 modulo `modulus`."""

    def __init__(self, length: int, base: int = 10, modulus: int = 10) -> None:
        self.base = _positive("base", base)
        self.modulus = _positive("modulus", modulus)
        table = (torch.arange(modulus)[:, None] + torch.arange(base)) % modulus
        super().__init__(table, accept=[0], length=_positive("length", length))

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"off by 1": …, "off by -1": …}: the sum modulo `modulus`, nearest 0."""
        self.check_words(words)
        remainder = words.sum(1) % self.modulus
        kinds = {}
        for r in range(1, self.modulus):
            off = r if r <= self.modulus // 2 else r - self.modulus
            kinds[f"off by {off}"] = remainder == r
        return kinds


class DigitSum(Automaton):
    """Four digits a, b, c, d in a 2×2 grid with a + b = c + d: 670 words.

    Reference:
        The rule of Quarter-MNIST in Lu et al., arXiv:2503.03595, section 5.
    """

    def __init__(self) -> None:
        span = 18
        difference = torch.arange(-span, span + 1)[:, None]
        digit = torch.arange(10)
        steps = []
        for sign in (1, 1, -1, -1):
            following = difference + sign * digit
            steps.append(torch.where(following.abs() <= span, following + span, -1))
        super().__init__(torch.stack(steps), accept=[span], start=span)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"first row too large": …, "first row too small": …}, each (N,) bool."""
        self.check_words(words)
        difference = words[:, :2].sum(1) - words[:, 2:].sum(1)
        return {"first row too large": difference > 0, "first row too small": difference < 0}


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} must be a positive integer, not {value!r}")
    return value
