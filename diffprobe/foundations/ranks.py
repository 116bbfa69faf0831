"""What depends on ranks alone: areas under ROC curves with intervals, rank correlations."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.intervals import student

FEWEST = 20  # observations of a class without which no area under a ROC curve is told
# Where fewer of a class than this are apart from its commonest score, or fewer of the smaller class
# are expected on the wrong side, the sample is no witness to its own spread.
FEWEST_APART = 5
FEWEST_WRONG = 2


@dataclass(frozen=True, kw_only=True, repr=False)
class Auroc(Estimate):
    """The probability that a positive scores above a negative, ties half; chance is 0.5.

    Attributes:
        value: None where either class has fewer than `FEWEST` observations; then the interval is
            [0, 1].
        low, high: The 95 % interval.
        n: Observations of both classes.
        p: Of the two-sided test that the area is 0.5: below 0.05 where the interval leaves it out;
            1 where there is no value.
        positives, negatives: Observations of either class.
    """

    low: float
    high: float
    p: float
    positives: int
    negatives: int
    chance: float = 0.5

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
        return _area(None, 0.0, 1.0, 1.0, m, n)
    below, above = _below(q) / n, 1 - _below(p) / m
    value = float(p @ below) / m
    if value in (0, 1):
        end = 0.025 ** (1 / fewer)
        low, high = (end, 1.0) if value else (0.0, 1 - end)
        return _area(value, low, high, 2.0 ** (1 - fewer), m, n)
    parts = _variance(below, p) / m, _variance(above, q) / n
    variance, floor = sum(parts), 4 * value * (1 - value) * _by_chance(p, q)
    apart = min(m - float(p.max()), n - float(q.max()))
    doubtful = apart < FEWEST_APART or fewer * min(value, 1 - value) < FEWEST_WRONG
    if doubtful and floor > variance:
        variance, degrees = floor, fewer - 1.0
    elif variance == 0:  # all scores are the same
        return _area(value, value, value, 1.0, m, n)
    else:
        degrees = variance**2 / (parts[0] ** 2 / (m - 1) + parts[1] ** 2 / (n - 1))
    logit = math.log(value / (1 - value))
    error = math.sqrt(variance) / (value * (1 - value))
    far = float(student(torch.tensor(degrees))) * error
    low, high = torch.tensor([logit - far, logit + far], dtype=torch.float64).sigmoid().tolist()
    return _area(value, low, high, _student_tails(logit / error, degrees), m, n)


def _area(value: float | None, low: float, high: float, p: float, m: int, n: int) -> Auroc:
    return Auroc(value=value, low=low, high=high, n=m + n, p=p, positives=m, negatives=n)


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
