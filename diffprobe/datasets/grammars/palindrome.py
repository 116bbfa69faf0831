"""Palindromes."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.datasets.grammars._pairs import PairsKind


@dataclass(frozen=True)
class PalindromeConfig(PairsKind):
    """Words that read the same from either end: V^ceil(L/2) of them."""

    name: ClassVar[str] = "palindrome"

    @property
    def partners(self) -> list[tuple[int, int]]:
        """Cells as far from either end."""
        return [(i, self.length - 1 - i) for i in range(self.length // 2)]
