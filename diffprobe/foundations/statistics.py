"""Rates and their differences, with intervals; the correction of many tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.intervals import student

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
FEWEST_GROUPS = 10  # groups without which the spread between them is not told


@dataclass(frozen=True, kw_only=True, repr=False)
class Rate(Estimate):
    """A share `count / n` with its 95 % Wilson interval.

    `value` is None, and the interval [0, 1], where n is 0.
    """

    count: int
    low: float
    high: float

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
        return Rate(count=0, n=0, value=None, low=0.0, high=1.0)
    low, high = _score_interval(count / n, n, z)
    return Rate(count=count, n=n, value=count / n, low=low, high=high)


def _score_interval(p: float, n: float, z: float) -> tuple[float, float]:
    centre = p + z * z / (2 * n)
    margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula is exact but its rounding is not.
    low = 0.0 if p == 0 else (centre - margin) / scale
    high = 1.0 if p == 1 else (centre + margin) / scale
    return low, high


def clustered(counts: Tensor, sizes: Tensor) -> Rate:
    """Return the rate of parts that come in groups, such as the cells of samples.

    Parts of one group are alike, and tell less than as many independent ones: Wilson's interval is
    taken at the effective number n* = p (1 − p) / s², n at most, with Student's quantile for the
    number of groups G, where

        s² = G / (G − 1) sum of (count_g − p size_g)² / n²

    Where fewer than ten groups hold any part of the rarer outcome they do not tell s², and n* is at
    most n² / sum of size_g², as if all parts of a group were the same.

    Args:
        counts: (G,) parts in each group of which it is true.
        sizes: (G,) parts in each group; empty groups say nothing.

    Raises:
        UsageError: If a count is not between 0 and its size.

    Reference:
        Korn & Graubard, "Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data", 1998.

    >>> print(clustered(torch.tensor([8, 0]).repeat(20), torch.tensor([8]).expand(40)))
    50.0% (95 % interval 34.6% to 65.4%, 160 of 320)
    """
    if bool(((counts < 0) | (counts > sizes)).any()):
        raise UsageError("a count is not between 0 and the size of its group")
    counts, sizes = counts[sizes > 0].double(), sizes[sizes > 0].double()
    groups, count, n = len(counts), int(counts.sum()), int(sizes.sum())
    if groups < 2:
        return Rate(count=count, n=n, value=count / n if n else None, low=0.0, high=1.0)
    p = count / n
    square = float((counts - p * sizes).square().sum()) * groups / (groups - 1) / n**2
    effective = min(n, p * (1 - p) / square) if square else float(n)
    if min(int((counts > 0).sum()), int((counts < sizes).sum())) < FEWEST_GROUPS:
        effective = min(effective, n**2 / float(sizes.square().sum()))
    quantile = float(student(torch.tensor(groups - 1)))
    low, high = _score_interval(p, effective, quantile)
    return Rate(count=count, n=n, value=p, low=low, high=high)


@dataclass(frozen=True)
class Difference:
    """The difference of two rates, first less second, with its 95 % interval.

    Attributes:
        value: None where either rate has no observations; then the interval is [-1, 1].
        low, high: The interval.
        p: Of the two-sided test that the rates are equal; 1 without observations.
        n: Observations of the first and the second; of pairs, the same.
        paired: Whether observations came in pairs.
    """

    value: float | None
    low: float
    high: float
    p: float
    n: tuple[int, int]
    paired: bool

    def contains(self, value: float) -> bool:
        """Whether the interval contains `value`."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.value is None:
            return "undefined (no observations)"
        n = f"{self.n[0]:,} pairs" if self.paired else f"n = {self.n[0]:,} and {self.n[1]:,}"
        return (
            f"{100 * self.value:+.1f} points (95 % interval {100 * self.low:+.1f} to "
            f"{100 * self.high:+.1f}, {n}, {told_p(self.p)})"
        )


def told_p(p: float) -> str:
    """Return a p-value in words.

    >>> told_p(0.0312), told_p(1e-40)
    ('p = 0.031', 'p < 1e-16')
    """
    # Further out the normal approximation behind most of them means nothing.
    return f"p = {p:.2g}" if p >= 1e-16 else "p < 1e-16"


def difference(first: Rate, second: Rate) -> Difference:
    """Return the difference of two independent rates with Newcombe's interval.

        d − sqrt((p1 − l1)² + (u2 − p2)²)   to   d + sqrt((u1 − p1)² + (p2 − l2)²)

    of the Wilson intervals (l, u); and p of the score test, z = d / sqrt(p (1 − p)(1/n1 + 1/n2))
    with the pooled rate p.

    Reference:
        Newcombe, "Interval estimation for the difference between independent proportions", 1998,
        method 10.

    >>> print(difference(wilson(56, 70), wilson(48, 80)))
    +20.0 points (95 % interval +5.2 to +33.4, n = 70 and 80, p = 0.008)
    """
    n = first.n, second.n
    if first.value is None or second.value is None:
        return Difference(None, -1.0, 1.0, 1.0, n, paired=False)
    p, q = first.value, second.value
    pooled = (first.count + second.count) / sum(n)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    return Difference(
        p - q,
        p - q - math.hypot(p - first.low, second.high - q),
        p - q + math.hypot(first.high - p, q - second.low),
        math.erfc(abs(p - q) / deviation / math.sqrt(2)) if deviation else 1.0,
        n,
        paired=False,
    )


def paired_difference(first: Tensor, second: Tensor) -> Difference:
    """Return the difference of two rates observed on the same n cases, with Tango's interval.

    With b cases true in the first alone and c in the second alone, the interval holds every delta
    that the score (b − c − n delta)² / n (2 q + delta (1 − delta)) does not reject, q the most
    likely share of the second alone at that delta. p is McNemar's, exact: twice the binomial tail
    of min(b, c) among b + c.

    Args:
        first, second: (n,) bool.

    Raises:
        UsageError: If their shapes differ.

    Reference:
        Tango, "Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design", 1998; McNemar, "Note on the sampling error of the difference between
        correlated proportions or percentages", 1947.
    """
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(
            f"outcomes of shapes {tuple(first.shape)} and {tuple(second.shape)} are not paired"
        )
    n = len(first)
    if n == 0:
        return Difference(None, -1.0, 1.0, 1.0, (0, 0), paired=True)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    value = (b - c) / n
    return Difference(
        value,
        _tango(b, c, n, -1.0),
        _tango(b, c, n, 1.0),
        _sign_test(b, c),
        (n, n),
        paired=True,
    )


def _tango(b: int, c: int, n: int, end: float) -> float:
    """The outermost delta towards `end` that is not rejected, by bisection."""
    inside, outside = (b - c) / n, end
    for _ in range(60):
        delta = (inside + outside) / 2
        linear = -b - c + (2 * n - b + c) * delta
        root = math.sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta)))
        alone = max(0.0, (root - linear) / (4 * n))
        variance = n * (2 * alone + delta * (1 - delta))
        if (b - c - n * delta) ** 2 <= Z95**2 * variance:
            inside = delta
        else:
            outside = delta
    return outside if abs(outside) == 1 else inside


def _sign_test(b: int, c: int) -> float:
    n = b + c
    k = torch.arange(min(b, c) + 1, dtype=torch.float64)
    whole = torch.tensor(float(n + 1), dtype=torch.float64)
    log_terms = whole.lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma() - n * math.log(2)
    return min(1.0, 2 * float(log_terms.exp().sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many they are, so that any error at all is as rare.

    The smallest is multiplied by their number m, the next by m − 1, and so on, none below the one
    before it.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, p[index] * (len(p) - rank)))
        corrected[index] = largest
    return corrected
