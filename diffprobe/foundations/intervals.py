"""Means and ratios over inputs, with 95 % intervals that cover where inputs are few or skewed.

Whatever a probe tells is a function f of means over N inputs. The influence d_n of an input is N
times the first-order change of f that it makes; influences add up to zero, and

    standard error   s = sqrt(sum of d_n² / (n (n − 1)))
    Student          f ± q s,   q the 97.5 % quantile of Student's t with n − 1 degrees of freedom
    Hall             f − s g⁻¹(±q),   g(x) = x + a x² + a² x³ / 3 + b,   a = γ/3√n,   b = γ/6√n

with γ the skewness of the influences. Most shares lie near an end: nearly all inputs agree and a
few, on which much depends, do not. Student's interval then ends too early on the side of the few
and Hall's does not, while for symmetric heavy tails it is the other way round: the interval told
reaches as far as either, and never less far than a stated resolution.

An input that was made from a picture or a word used more than once is no new evidence of what
other pictures give. With `sources`, the influences of each source are added up, and n is the number
of sources.

References:
    Hall, "On the removal of skewness by transformation", 1992.
    Hampel, "The influence curve and its role in robust estimation", 1974.
"""

import itertools
import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.tables import Table

# Sources without which no interval is told.
FEWEST = 10
# A ratio of sums is ruled by its largest terms. Where fewer than this share of the inputs is in
# effect, (Σ w)² / Σ w², no interval is told: the terms that rule it may not even be in the sample.
EFFECTIVE_SHARE = 0.5
# No share is told more precisely than it is printed: what one input in some thousands does
# is not in a sample of some hundreds.
RESOLUTION = 1e-3


@dataclass(frozen=True, repr=False)
class Interval(Table):
    """Numbers with their 95 % intervals, one or a tensor of them.

    Attributes:
        value: (…) float64; NaN where it is not defined.
        standard_error: (…), NaN where no interval is told.
        low, high: (…) the interval; NaN where none is told.
        n: (…) how many independent inputs it rests on: sources where inputs share them.
    """

    value: Tensor
    standard_error: Tensor
    low: Tensor
    high: Tensor
    n: Tensor

    def __getitem__(self, index: Any) -> "Interval":
        """Return some of the numbers."""
        return Interval(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def estimate(self, index: Any = ()) -> Estimate:
        """Return one of the numbers; what is NaN here is None there.

        >>> print(mean(torch.arange(20.0)).estimate())
        9.500 ± 2.769
        """
        one = self[index]
        ends = {
            name: _told(getattr(one, name)) for name in ("value", "standard_error", "low", "high")
        }
        return Estimate(**ends, n=int(one.n))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each number: its place along every axis, and its fields."""
        shape = self.value.shape
        return [
            {
                **{f"axis {axis}": i for axis, i in enumerate(place)},
                **self.estimate(place).rows()[0],
            }
            for place in itertools.product(*map(range, shape))
        ]

    def __repr__(self) -> str:
        if self.value.ndim == 0:
            return f"<Interval {self.estimate()}>"
        return f"<Interval of {' × '.join(map(str, self.value.shape))} numbers>"

    def contains(self, truth: Tensor | float) -> Tensor:
        """Return where the intervals contain `truth`: (…) bool, false where none is told."""
        return (self.low <= truth) & (truth <= self.high)

    def where(self, condition: Tensor) -> "Interval":
        """Return the numbers where `condition`, and NaN elsewhere; n stays."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "n"}
        return Interval(**{k: v.where(condition, math.nan) for k, v in told.items()}, n=self.n)


def _told(number: Tensor) -> float | None:
    return None if bool(number.isnan()) else float(number)


def stacked(intervals: list[Interval]) -> Interval:
    """Return intervals of the same shape as one, along a new first axis."""
    return Interval(
        **{f.name: torch.stack([getattr(i, f.name) for i in intervals]) for f in fields(Interval)}
    )


def mean(values: Tensor, sources: Tensor | None = None, *, resolution: float = 0.0) -> Interval:
    """Return the mean along the last axis, of the values that are defined.

    Args:
        values: (…, N); NaN where an input says nothing.
        sources: (N,) long, the picture or word that each input was made from; by default no two
            share one.
        resolution: The interval reaches at least this far.

    Returns:
        Of shape (…).

    >>> found = mean(torch.arange(20.0))
    >>> round(found.value.item(), 2), int(found.n)
    (9.5, 20)
    """
    values = in_double(values)
    centre = values.nanmean(-1)
    return from_influence(centre, values - centre[..., None], sources, resolution=resolution)


def over_runs(values: Tensor) -> Interval:
    """Return the mean along the last axis of one number of several trainings, Student's interval.

    What is told of one training says nothing of the next: with few of them, whose numbers are about
    normal, n is the number of trainings.

    Args:
        values: (…, K), K at least 2; NaN where a training has no such number.

    Returns:
        Of shape (…).

    >>> over_runs(torch.tensor([1.0, 2.0, 3.0])).high.item() < 4.5
    True
    """
    values = in_double(values)
    known = values.isfinite()
    n = known.sum(-1)
    centre = values.nanmean(-1)
    square = (values - centre[..., None]).where(known, 0.0).square().sum(-1)
    error = (square / (n * (n - 1))).sqrt()
    far = student(n - 1) * error
    found = Interval(centre, error, centre - far, centre + far, n)
    return gated(found, n >= 2)


def ratio(
    numerator: Tensor,
    denominator: Tensor,
    sources: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    resolution: float = 0.0,
) -> Interval:
    """Return the ratio of two means along the last axis.

    Args:
        numerator, denominator: (…, N) of the same inputs.
        sources: As for `mean`.
        weights: (…, N) non-negative, what the inputs contribute; by default the denominator. Where
            less than `EFFECTIVE_SHARE` of the inputs is in effect no interval is told.
        resolution: As for `mean`.

    Returns:
        Of shape (…).
    """
    top, bottom = in_double(numerator), in_double(denominator)
    value = top.sum(-1) / bottom.sum(-1)
    influence = (top - value[..., None] * bottom) / bottom.mean(-1, keepdim=True)
    found = from_influence(value, influence, sources, resolution=resolution)
    effective = effective_number(bottom if weights is None else weights, sources)
    return gated(found, effective >= EFFECTIVE_SHARE * found.n)


def difference(first: Interval, second: Interval) -> Interval:
    """Return first less second, of inputs that are independent: the square-and-add interval.

        d − sqrt((f − f_low)² + (s_high − s)²)   to   d + sqrt((f_high − f)² + (s − s_low)²)

    so that each side leans as the intervals do. n is that of the fewer inputs.

    Args:
        first, second: Of the same shape; no interval is told where one of them has none.

    Reference:
        Zou & Donner, "Construction of confidence limits about effect measures: a general
        approach", 2008.

    >>> a, b = (mean(torch.arange(20.0) + shift) for shift in (3, 0))
    >>> print(difference(a, b).estimate())
    3.000 ± 3.916
    """
    value = first.value - second.value
    return Interval(
        value=value,
        standard_error=torch.hypot(first.standard_error, second.standard_error),
        low=value - torch.hypot(first.value - first.low, second.high - second.value),
        high=value + torch.hypot(first.high - first.value, second.value - second.low),
        n=torch.minimum(first.n, second.n),
    )


def gated(found: Interval, told: Tensor) -> Interval:
    """Return `found` without the intervals that are not `told (…)`; the values stay."""
    ends = {
        name: getattr(found, name).where(told, math.nan)
        for name in ("standard_error", "low", "high")
    }
    return Interval(value=found.value, n=found.n, **ends)


def effective_number(weights: Tensor, sources: Tensor | None = None) -> Tensor:
    """Return (Σ w)² / Σ w² along the last axis of `weights (…, N)`, summed over each source first.

    >>> effective_number(torch.tensor([1.0, 1.0, 0.0])).item()
    2.0
    """
    weights = _by_source(weights.double().nan_to_num(), sources)
    squares = weights.square().sum(-1)
    return (weights.sum(-1).square() / squares).nan_to_num()


def from_influence(
    value: Tensor, influence: Tensor, sources: Tensor | None = None, *, resolution: float = 0.0
) -> Interval:
    """Return a value with the interval that influences make.

    Args:
        value: (…).
        influence: (…, N), NaN for an input that says nothing; the others add up to zero.
        sources: As for `mean`.
        resolution: As for `mean`.

    Returns:
        Of shape (…), without interval where fewer than `FEWEST` sources say anything.

    Raises:
        UsageError: If `sources` are not one an input.
    """
    if sources is not None and sources.shape != influence.shape[-1:]:
        raise UsageError(
            f"sources of shape {tuple(sources.shape)} do not fit {influence.shape[-1]} inputs"
        )
    influence = influence.double()
    known = influence.isfinite()
    terms = _by_source(influence.where(known, 0.0), sources)
    n = (_by_source(known.double(), sources) > 0).sum(-1)
    # A source's inputs add up: each term stands for n of N.
    terms = terms * (n / known.sum(-1))[..., None].nan_to_num()
    square, cube = terms.square().sum(-1), terms.pow(3).sum(-1)
    error = (square / (n * (n - 1))).sqrt()
    skewness = (cube * n.sqrt() / square.pow(1.5)).nan_to_num() * (n * (n - 1)).sqrt() / (n - 2)
    quantile = student(n - 1)
    far = quantile * error
    low = torch.minimum(value - far, value - error * _untransformed(quantile, skewness, n))
    high = torch.maximum(value + far, value - error * _untransformed(-quantile, skewness, n))
    found = Interval(
        value=value.double(),
        standard_error=error,
        low=torch.minimum(low, value - resolution),
        high=torch.maximum(high, value + resolution),
        n=n,
    )
    return gated(found, n >= FEWEST)


def student(degrees: Tensor) -> Tensor:
    """Return the 97.5 % quantile of Student's t with `degrees (…)` degrees of freedom."""
    from scipy.special import stdtrit

    return torch.as_tensor(stdtrit(degrees.clamp(min=1).double().numpy(), 0.975))


def _untransformed(x: Tensor, skewness: Tensor, n: Tensor) -> Tensor:
    """Hall's g⁻¹(x)."""
    a = skewness / (3 * n.sqrt())
    cubed = 1 + 3 * a * (x - a / 2)
    root: Tensor = (cubed.sign() * cubed.abs().pow(1 / 3) - 1) / a
    return root.where(a.abs() > 1e-9, x)


def _by_source(terms: Tensor, sources: Tensor | None) -> Tensor:
    """Add up the terms of each source: (…, S) from (…, N)."""
    if sources is None:
        return terms
    names, index = sources.unique(return_inverse=True)
    return terms.new_zeros(*terms.shape[:-1], len(names)).index_add(-1, index, terms)
