"""Proportions of training data: from how each component's error falls, the shares that are best.

The error of component k after n samples of it, and what is expected of all, in proportions p of the
test, where a training has N samples in shares q:

    error_k(n) = A_k n^-alpha_k + B_k
    f(q) = sum_k p_k error_k(q_k N)

is least where p_k alpha_k A_k N^-alpha_k q_k^-(alpha_k + 1) is the same for all k: with one alpha,
q_k in proportion to (alpha p_k A_k)^(1 / (alpha + 1)).

A, B >= 0 are those of the least squares of relative residuals. Intervals are 95 % of fits to data
drawn anew, the fit with relative noise of the residuals' size; that size is known from few points
and drawn too.

Reference:
    arXiv:2510.25108, on training in other proportions than the test's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.tables import Table

Array = NDArray[float64]
ALPHAS = np.geomspace(0.02, 8.0, 61)  # that are tried, and then between the best one's neighbours
FINER = 9
FEWEST = 3  # different numbers of samples: A, alpha and B are three
DRAWS = 400
SUM = 1e-6  # by which proportions may miss one


@dataclass(frozen=True)
class Point:
    """An error of a component.

    Attributes:
        component: Its name.
        samples: Of the component, in training; in any unit.
        error: Positive.
    """

    component: str
    samples: float
    error: float


@dataclass(frozen=True)
class ComponentFit:
    """How the error of a component falls: A n^-alpha + B, with what data drawn anew would give.

    Attributes:
        name: Of the component.
        alpha, A, B: With their intervals; none is told by points as many as parameters.
        samples, errors: (n,) what it was fitted to, in order of samples.
        drawn: (400, 3) alpha, A and B of data drawn anew; no rows where no interval is told.
    """

    name: str
    alpha: Estimate
    A: Estimate
    B: Estimate
    samples: list[float]
    errors: list[float]
    drawn: Array

    @property
    def values(self) -> Array:
        """(3,) alpha, A and B."""
        return np.array([each.value for each in (self.alpha, self.A, self.B)], float)

    def at(self, samples: Array) -> Array:
        """Return the errors after as many samples."""
        return error_after(samples, self.values)


@dataclass(frozen=True, repr=False)
class Proportions(Table):
    """The shares that are best for a test.

    Attributes:
        components: How each one's error falls.
        test: Component -> its share of the test.
        shares: Component -> the best share of training.
        samples: N, of a whole training.
        error: Expected at the best shares.
        matched: Expected where training has the test's proportions.
        gain: 1 - error / matched, of the shares proposed.
    """

    components: list[ComponentFit]
    test: dict[str, float]
    shares: dict[str, Estimate]
    samples: float
    error: float
    matched: float
    gain: Estimate

    def rows(self) -> list[dict[str, float | str | None]]:
        """Return one row a component."""
        rows: list[dict[str, float | str | None]] = []
        for fit in self.components:
            row: dict[str, float | str | None] = {
                "component": fit.name,
                "test": self.test[fit.name],
            }
            told = {"share": self.shares[fit.name], "alpha": fit.alpha, "A": fit.A, "B": fit.B}
            for name, each in told.items():
                row |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
            rows.append(row)
        return rows


def error_after(samples: Array, values: Array) -> Array:
    """Return A n^-alpha + B.

    Args:
        samples: (...) n; where it is 0 the error is infinite, unless A is 0.
        values: (..., 3) alpha, A and B.
    """
    alpha, scale, floor = np.moveaxis(values, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        falling = scale * samples**-alpha
    found: Array = np.where(scale > 0, falling, 0.0) + floor
    return found


def propose(
    points: Sequence[Point], test: Mapping[str, float], samples: float | None = None, seed: int = 0
) -> Proportions:
    """Return the best shares of training for a test.

    Args:
        points: Of each component, with three different numbers of samples at least.
        test: Component -> its share of the test; they sum to one.
        samples: N, of the training that is planned, in the unit of the points; by default the sum
            of each component's most.
        seed: Of the data drawn anew.

    Raises:
        UsageError: If shares do not sum to one, components do not agree, points are too few, or no
            error falls.
    """
    names = list(dict.fromkeys(point.component for point in points))
    check_shares(test, names)
    fits = [fit_component(name, [p for p in points if p.component == name], seed) for name in names]
    n = samples if samples is not None else math.fsum(max(fit.samples) for fit in fits)
    if not 0 < n < math.inf:
        raise UsageError(f"the samples of a training must be a positive number, not {n:g}")
    p = np.array([test[name] for name in names])
    values = np.stack([fit.values for fit in fits])
    if not (values[:, 1] > 0).any():
        raise UsageError("no component's error falls with its samples: all shares are alike")
    best = best_shares(p, values, n)
    draws = min(len(fit.drawn) for fit in fits)
    drawn = (
        np.stack([fit.drawn[:draws] for fit in fits], 1) if draws else np.zeros((0, *values.shape))
    )
    shares, gains = best_shares(p, drawn, n), _gain(p, best, drawn, n)
    count = len(points)
    return Proportions(
        components=fits,
        test={name: test[name] for name in names},
        shares={
            name: _estimate(float(best[k]), shares[:, k], count) for k, name in enumerate(names)
        },
        samples=n,
        error=float(p @ error_after(best * n, values)),
        matched=float(p @ error_after(p * n, values)),
        gain=_estimate(float(_gain(p, best, values, n)), gains, count),
    )


def check_shares(test: Mapping[str, float], components: Sequence[str]) -> None:
    """Check that every component has a positive share, and that these sum to one.

    Raises:
        UsageError: If not.
    """
    for name in test:
        if name not in components:
            raise unknown_name("component", name, components)
    if missing := [name for name in components if name not in test]:
        raise UsageError(f"--test has no share of the component {missing[0]!r}")
    for name, share in test.items():
        if not 0 < share <= 1:
            raise UsageError(f"--test: the share of {name} is {share:g}, not above 0 and at most 1")
    if abs(math.fsum(test.values()) - 1) > SUM:
        told = " + ".join(f"{share:g}" for share in test.values())
        raise UsageError(
            f"--test: proportions sum to one, and {told} = {math.fsum(test.values()):g}"
        )


def best_shares(test: Array, values: Array, samples: float) -> Array:
    """Return the shares of the least expected error.

    Args:
        test: (K,) p.
        values: (..., K, 3) alpha, A and B.
        samples: N.

    Returns:
        (..., K); those of the test where no A is positive.

    >>> one = np.array([1.0, 1.0, 0.0])
    >>> best_shares(np.array([0.9, 0.1]), np.stack([one, one]), 100.0).round(3).tolist()
    [0.75, 0.25]
    """
    alpha, scale = values[..., 0], values[..., 1]
    with np.errstate(divide="ignore"):
        logs = np.log(test * alpha * scale) - alpha * math.log(samples)
    falls = np.isfinite(logs).any(-1)
    logs = np.where(falls[..., None], logs, 0.0)
    # The logarithm of the derivative that all have in common; their sum falls with it.
    low = logs.max(-1)
    high = (logs + (alpha + 1) * math.log(len(test))).max(-1)
    for _ in range(60):
        middle = (low + high) / 2
        total = np.exp((logs - middle[..., None]) / (alpha + 1)).sum(-1)
        low, high = np.where(total > 1, middle, low), np.where(total > 1, high, middle)
    shares = np.exp((logs - low[..., None]) / (alpha + 1))
    found: Array = np.where(falls[..., None], shares / shares.sum(-1, keepdims=True), test)
    return found


def fit_component(name: str, points: Sequence[Point], seed: int = 0) -> ComponentFit:
    """Fit A n^-alpha + B to a component's errors.

    Args:
        name: Of the component.
        points: Its own.
        seed: Of the data drawn anew.

    Raises:
        UsageError: If there are fewer than three different numbers of samples.
    """
    points = sorted(points, key=lambda point: point.samples)
    samples = np.array([point.samples for point in points])
    errors = np.array([point.error for point in points])
    if (different := len(np.unique(samples))) < FEWEST:
        raise UsageError(
            f"component {name!r} has {different} different numbers of samples, and the law needs "
            f"{FEWEST} at least: train with more shares, or for longer"
        )
    values = _fit(samples, errors[None])[0]
    told = error_after(samples, values)
    free = len(points) - FEWEST
    drawn = np.zeros((0, 3))
    if free:
        size = math.sqrt(float(np.square(errors / told - 1).sum()) / free)
        random = np.random.default_rng(generator(seed, f"proportions {name}").initial_seed())
        # Residuals so few do not tell their size: it is drawn, which gives the tails of Student's.
        sizes = size * np.sqrt(free / random.chisquare(free, (DRAWS, 1)))
        noise = sizes * random.standard_normal((DRAWS, len(points)))
        drawn = _fit(samples, told * np.exp(noise))
    alpha, scale, floor = (_estimate(float(values[i]), drawn[:, i], len(points)) for i in range(3))
    return ComponentFit(name, alpha, scale, floor, samples.tolist(), errors.tolist(), drawn)


def _fit(samples: Array, errors: Array) -> Array:
    """Alpha, A and B of each row of `errors (R, n)`: (R, 3)."""
    rows = np.arange(len(errors))
    alphas = np.broadcast_to(ALPHAS, (len(errors), len(ALPHAS)))
    for _ in range(4):
        objective, found = _at(samples, errors, alphas)
        best = objective.argmin(1)
        values = found[rows, best]
        low = alphas[rows, np.maximum(best - 1, 0)]
        high = alphas[rows, np.minimum(best + 1, alphas.shape[1] - 1)]
        alphas = np.geomspace(low, high, FINER, axis=1)
    return values


def _at(samples: Array, errors: Array, alphas: Array) -> tuple[Array, Array]:
    """The least squares at each alpha (R, G), and the alpha, A and B of it (R, G, 3)."""
    # Around a middle one powers of samples are not lost beside 1.
    middle = math.exp(float(np.log(samples).mean()))
    falling = (samples / middle) ** -alphas[..., None] / errors[:, None]
    one = np.broadcast_to((1 / errors)[:, None], falling.shape)
    aa, ab, bb = (falling**2).sum(-1), (falling * one).sum(-1), (one**2).sum(-1)
    a, b = falling.sum(-1), one.sum(-1)
    determinant = aa * bb - ab**2
    with np.errstate(divide="ignore", invalid="ignore"):
        scale, floor = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
    no_floor, no_scale = ~(floor >= 0), ~(scale >= 0)
    scale = np.where(no_scale, 0.0, np.where(no_floor, a / aa, scale))
    floor = np.where(no_scale, b / bb, np.where(no_floor, 0.0, floor))
    apart = scale[..., None] * falling + floor[..., None] * one - 1
    values = np.stack([alphas, scale * middle**alphas, floor], -1)
    return (apart**2).sum(-1), values


def _gain(test: Array, shares: Array, values: Array, samples: float) -> Array:
    """How much of the expected error shares save over those of the test: (...)."""
    proposed = error_after(shares * samples, values) @ test
    found: Array = 1 - proposed / (error_after(test * samples, values) @ test)
    return found


def _estimate(value: float, drawn: Array, n: int) -> Estimate:
    if not len(drawn):
        return Estimate(value=value, low=None, high=None, n=n)
    # A fit at the edge of what is possible lies outside its own draws.
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), n=n)
