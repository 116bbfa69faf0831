"""Rates with their intervals."""

import math
from dataclasses import dataclass

from diffprobe.errors import UsageError

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Rate:
    """A share `count / n` with its 95 % Wilson interval; `value` is None where n is 0."""

    count: int
    n: int
    value: float | None
    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether the interval contains `value`."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.value is None:
            return "undefined (0 of 0)"
        return (
            f"{self.value:.1%} (95 % interval {self.low:.1%} to {self.high:.1%}, "
            f"{self.count:,} of {self.n:,})"
        )


def wilson(count: int, n: int, z: float = Z95) -> Rate:
    """Return the rate `count / n` with its Wilson score interval.

        (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Without observations the interval is [0, 1].

    Raises:
        UsageError: If `count` is not between 0 and `n`.

    Reference:
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> print(wilson(8, 10))
    80.0% (95 % interval 49.0% to 94.3%, 8 of 10)
    """
    if not 0 <= count <= n:
        raise UsageError(f"a count of {count} among {n} is impossible")
    if n == 0:
        return Rate(0, 0, None, 0.0, 1.0)
    p = count / n
    centre = p + z * z / (2 * n)
    margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula is exact but its rounding is not.
    low = 0.0 if count == 0 else (centre - margin) / scale
    high = 1.0 if count == n else (centre + margin) / scale
    return Rate(count, n, p, low, high)
