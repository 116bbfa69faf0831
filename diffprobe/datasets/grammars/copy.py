"""Words said twice."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.datasets.grammars._pairs import PairsKind
from diffprobe.foundations.errors import UsageError


@dataclass(frozen=True)
class CopyConfig(PairsKind):
    """Words whose second half repeats the first: V^(L/2) of them."""

    name: ClassVar[str] = "copy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length % 2:
            raise UsageError(f"a copy needs an even length, not {self.length}")

    @property
    def partners(self) -> list[tuple[int, int]]:
        """Each cell of the first half and its copy."""
        half = self.length // 2
        return [(i, i + half) for i in range(half)]
