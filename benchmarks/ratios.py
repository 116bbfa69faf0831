"""What pairs of times say: the median of their ratios, and the range of the middle half."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One time over another, of pairs taken in turns."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, over: Sequence[float], under: Sequence[float]) -> "Ratio":
        pairs = [a / b for a, b in zip(over, under, strict=True)]
        return cls(*statistics.quantiles(pairs, n=4))

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"
