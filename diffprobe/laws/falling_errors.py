"""How the error of a component of the data falls with the samples of it that were trained on.

    error(n) = A n^-alpha + B

A, B >= 0 are those of the least squares of relative residuals. Intervals are 95 % of fits to data
drawn anew, the fit with relative noise of the residuals' size; that size is known from few points
and drawn too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.seeding import generator

Array = NDArray[float64]
ALPHAS = np.geomspace(0.02, 8.0, 61)  # that are tried, and then between the best one's neighbours
FINER = 9
FEWEST = 3  # different numbers of samples: A, alpha and B are three
DRAWS = 400
FURTHEST = 50.0  # nats


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
        # Errors that are of no such law may leave residuals whose draws have no end.
        drawn = _fit(samples, told * np.exp(noise.clip(-FURTHEST, FURTHEST)))
    alpha, scale, floor = (estimate(float(values[i]), drawn[:, i], len(points)) for i in range(3))
    return ComponentFit(name, alpha, scale, floor, samples.tolist(), errors.tolist(), drawn)


def _fit(samples: Array, errors: Array) -> Array:
    """Alpha, A and B of each row of `errors (R, n)`: (R, 3)."""
    rows = np.arange(len(errors))
    alphas = np.broadcast_to(ALPHAS, (len(errors), len(ALPHAS)))
    values: Array = np.zeros((len(errors), 3))
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


def estimate(value: float, drawn: Array, n: int) -> Estimate:
    """Return a value with the range of 95 % of draws; no interval where there are none."""
    if not len(drawn):
        return Estimate(value=value, low=None, high=None, n=n)
    # A fit at the edge of what is possible lies outside its own draws.
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), n=n)
