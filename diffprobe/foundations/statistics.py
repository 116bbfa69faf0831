"""Rates, their differences, and areas under ROC curves, with intervals; rank correlations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import student

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
FEWEST = 20  # observations of a class without which no area under a ROC curve is told
# Where fewer of a class than this are apart from its commonest score, or fewer of the smaller class
# are expected on the wrong side, the sample is no witness to its own spread.
FEWEST_APART = 5
FEWEST_WRONG = 2
FEWEST_GROUPS = 10  # groups without which the spread between them is not told


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
    return Rate(count, n, count / n, *_score_interval(count / n, n, z))


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
        return Rate(count, n, count / n if n else None, 0.0, 1.0)
    p = count / n
    square = float((counts - p * sizes).square().sum()) * groups / (groups - 1) / n**2
    effective = min(n, p * (1 - p) / square) if square else float(n)
    if min(int((counts > 0).sum()), int((counts < sizes).sum())) < FEWEST_GROUPS:
        effective = min(effective, n**2 / float(sizes.square().sum()))
    quantile = float(student(torch.tensor(groups - 1)))
    return Rate(count, n, p, *_score_interval(p, effective, quantile))


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
            f"{100 * self.high:+.1f}, {n}, p = {self.p:.2g})"
        )


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


@dataclass(frozen=True)
class Auroc:
    """The probability that a positive scores above a negative, ties half; chance is 0.5.

    Attributes:
        value: None where either class has fewer than `FEWEST` observations; then the interval is
            [0, 1].
        low, high: The 95 % interval.
        p: Of the two-sided test that the area is 0.5: below 0.05 where the interval leaves it out;
            1 where there is no value.
        positives, negatives: Observations of either class.
    """

    value: float | None
    low: float
    high: float
    p: float
    positives: int
    negatives: int

    def __str__(self) -> str:
        n = f"{self.positives:,} against {self.negatives:,}"
        if self.value is None:
            return f"undefined ({n}: at least {FEWEST} of each are needed)"
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, {n})"


def auroc(scores: Tensor, positive: Tensor) -> Auroc:
    """Return the area under the ROC curve, A, with its interval on the logit scale.

        s² = var(share of negatives below each positive) / m
             + var(share of positives above each negative) / n
        logit A ± q s / A(1 − A),   q and p of Student's t, degrees of freedom after Welch

    so that the test is Brunner and Munzel's, on the scale of the interval. It is of the area alone:
    unlike that of Mann and Whitney, it allows for classes that differ in spread.

    A sample whose scores nearly all agree, or that is nearly separated, does not tell its own s.
    There s² is no less than 4 A(1 − A) times the variance that ranks have by chance,
    (m + n + 1) / 12 m n less the ties' part. Where the classes separate perfectly, the open end is
    that of Clopper and Pearson for the min(m, n) disjoint pairs, all of them in order.

    Args:
        scores: (N,) finite.
        positive: (N,) bool, m true and n false.

    Raises:
        UsageError: If the shapes differ, or a score is not finite.

    Reference:
        DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
        operating characteristic curves", 1988; Brunner & Munzel, "The nonparametric Behrens-Fisher
        problem", 2000; Pauly, Asendorf & Konietschke, "Permutation-based inference for the AUC",
        2016.

    >>> found = auroc(torch.arange(40.0).roll(3), torch.arange(40) < 20)
    >>> print(found)
    0.150 (95 % interval 0.044 to 0.404, 20 against 20)
    """
    if scores.ndim != 1 or scores.shape != positive.shape:
        raise UsageError(
            f"scores of shape {tuple(scores.shape)} do not fit classes of {tuple(positive.shape)}"
        )
    if not scores.isfinite().all():
        raise UsageError("a score is not finite")
    distinct, rank = scores.unique(return_inverse=True)
    # How often each distinct score occurs in either class is all that the area depends on.
    p, q = (
        torch.bincount(rank[chosen], minlength=len(distinct)).double()
        for chosen in (positive, ~positive)
    )
    m, n = int(p.sum()), int(q.sum())
    fewer = min(m, n)
    if fewer < FEWEST:
        return Auroc(None, 0.0, 1.0, 1.0, m, n)
    below, above = _below(q) / n, 1 - _below(p) / m
    value = float(p @ below) / m
    if value in (0, 1):
        end = 0.025 ** (1 / fewer)
        low, high = (end, 1.0) if value else (0.0, 1 - end)
        return Auroc(value, low, high, 2.0 ** (1 - fewer), m, n)
    parts = _variance(below, p) / m, _variance(above, q) / n
    variance, floor = sum(parts), 4 * value * (1 - value) * _by_chance(p, q)
    apart = min(m - float(p.max()), n - float(q.max()))
    doubtful = apart < FEWEST_APART or fewer * min(value, 1 - value) < FEWEST_WRONG
    if doubtful and floor > variance:
        variance, degrees = floor, fewer - 1.0
    elif variance == 0:  # all scores are the same
        return Auroc(value, value, value, 1.0, m, n)
    else:
        degrees = variance**2 / (parts[0] ** 2 / (m - 1) + parts[1] ** 2 / (n - 1))
    logit = math.log(value / (1 - value))
    error = math.sqrt(variance) / (value * (1 - value))
    far = float(student(torch.tensor(degrees))) * error
    low, high = torch.tensor([logit - far, logit + far], dtype=torch.float64).sigmoid().tolist()
    return Auroc(value, low, high, _student_tails(logit / error, degrees), m, n)


def _below(counts: Tensor) -> Tensor:
    """How many lie below each distinct score, those on it half: (K,)."""
    return counts.cumsum(-1) - counts / 2


def _variance(values: Tensor, counts: Tensor) -> float:
    mean = counts @ values / counts.sum()
    return float(counts @ (values - mean).square() / (counts.sum() - 1))


def _by_chance(p: Tensor, q: Tensor) -> float:
    """The variance of the area where both classes are draws of these same scores."""
    m, n, together = float(p.sum()), float(q.sum()), p + q
    size = m + n
    ties = float((together.pow(3) - together).sum()) / (size**3 - size)
    return (size + 1) / (12 * m * n) * (1 - ties)


def _student_tails(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(t)))


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's rank correlation along the last axis, ties sharing their mean rank.

    Args:
        a, b: (..., K), broadcast against each other; K² comparisons each are held at once.

    Returns:
        (...), float64; NaN where a row is constant or holds NaN.

    >>> round(rank_correlation(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 9, 8])).item(), 6)
    0.5
    """
    return (_standard_ranks(a) * _standard_ranks(b)).sum(-1)


def _standard_ranks(values: Tensor) -> Tensor:
    below = values[..., :, None] > values[..., None, :]
    equal = values[..., :, None] == values[..., None, :]
    ranks = below.sum(-1) + equal.sum(-1, dtype=torch.float64) / 2
    ranks = ranks.masked_fill(values.isnan(), math.nan)
    centred = ranks - ranks.mean(-1, keepdim=True)
    return centred / centred.square().sum(-1, keepdim=True).sqrt()
