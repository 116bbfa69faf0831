"""A number with its error: the one type that everything measured comes in.

What an `Estimate` is of (a rate, an area under a ROC curve, one number of an `Interval`, a
statistic of words) adds fields and its own words; value, interval and n are the same in all of
them, and so is how a record holds them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from diffprobe.foundations.tables import Table

# What an estimate need not have is left out of its record.
OPTIONAL: Mapping[str, bool] = {"optional": True}


@dataclass(frozen=True, kw_only=True, repr=False)
class Estimate(Table):
    """A number with its 95 % interval.

    Attributes:
        value: None where it is not defined.
        standard_error: None where none is told; rates and areas have none, for their intervals
            are not symmetric.
        low, high: The interval; None where none is told.
        n: How many independent observations it rests on.
        chance: What it would be with nothing to find, where that is a single number.

    >>> print(Estimate(value=0.5, low=0.48, high=0.52, n=100))
    0.500 ± 0.020
    """

    value: float | None
    standard_error: float | None = field(default=None, metadata=OPTIONAL)
    low: float | None
    high: float | None
    n: int
    chance: float | None = field(default=None, metadata=OPTIONAL)

    def contains(self, value: float) -> bool:
        """Whether the interval contains `value`; false where none is told."""
        if self.low is None or self.high is None:
            return False
        return self.low <= value <= self.high

    def rows(self) -> list[dict[str, Any]]:
        """Return the fields that are told, as one row."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        left_out = {f.name for f in fields(self) if f.metadata.get("optional")}
        return [{k: v for k, v in told.items() if v is not None or k not in left_out}]

    def __str__(self) -> str:
        return in_words(self.value, self.low, self.high)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


TINY = 1e-6  # half widths below are of rounding


def in_words(value: float | None, low: float | None, high: float | None) -> str:
    """Return a number with its interval; ± is a 95 % interval, and one that leans is written out.

    >>> in_words(0.996, 0.99, 0.998)
    '0.996 (0.990 to 0.998)'
    >>> in_words(0.996, None, None)
    '0.996 (no interval)'
    >>> in_words(None, None, None)
    'undefined'
    >>> in_words(-0.00021, -0.00075, 0.00033)
    '-0.000 ± 0.001'
    >>> in_words(-0.00021, -0.00063, 0.00021)
    '-0.00021 ± 0.00042'
    """
    if value is None or math.isnan(value):
        return "undefined"
    if low is None or high is None or math.isnan(low):
        return f"{value:.3f} (no interval)"
    half = (high - low) / 2
    digits = 1 - math.floor(math.log10(half)) if TINY < half < 5e-4 else 3
    if abs((high - value) - (value - low)) > max(10**-digits, 0.2 * half) + 1e-12:
        return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f} ± {half:.{digits}f}"
