"""How reuse wears off: the saturating form of E(K).

    E(K) = 1 + R (1 - exp(-(K - 1) / R))

is K while K << R, and 1 + R at last. R is often hardly told by the data. So it comes with a
profile: the least objective with R held, and the R whose objective is as good: 95 % of the
likelihood ratio, by F of a few points of E and by chi² of many trainings (`scaling`).

Reference:
    Muennighoff et al., "Scaling data-constrained language models", arXiv:2305.16264, equation 5.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.laws.reuse import Reuse

Array = NDArray[float64]
CHI2 = 3.841458820694124  # 95 % of chi² with one degree of freedom
GRID = np.geomspace(0.1, 1000.0, 81)  # R that a profile is told at
FEWEST = 3  # points that a form is fitted to


@dataclass(frozen=True)
class Profile:
    """A fit of R, and how well the data tell it.

    Attributes:
        value: R at the least objective.
        low, high: The R that fit as well; None where the profile is that flat to the end of `at`.
        at: (n,) R.
        objective: (n,) the least with that R.
        least: The least of all.
    """

    value: float
    low: float | None
    high: float | None
    at: list[float]
    objective: list[float]
    least: float

    def __str__(self) -> str:
        low = f"{self.low:.3g}" if self.low is not None else f"less than {self.at[0]:.3g}"
        high = f"{self.high:.3g}" if self.high is not None else f"more than {self.at[-1]:.3g}"
        value = f"{self.value:.3g}"
        if self.value >= self.at[-1] * 0.999:
            value = f"{self.at[-1]:.3g} or more"
        return f"{value} ({low} to {high})"


@dataclass(frozen=True)
class Saturation:
    """The saturating form, fitted to E along K.

    Attributes:
        parameters: Of the network; 0 where they are not told.
        unique: N.
        r: R, with its profile.
    """

    parameters: float
    unique: float
    r: Profile


def saturating(passes: Array, r: float) -> Array:
    """Return 1 + R (1 - exp(-(K - 1) / R)).

    >>> saturating(np.array([1.0, 2.0, 1000.0]), 4.0).round(2).tolist()
    [1.0, 1.88, 5.0]
    """
    found: Array = 1 - r * np.expm1(-(passes - 1) / r)
    return found


def fit_saturation(points: Sequence[Reuse]) -> list[Saturation]:
    """Return R of the saturating form for each network and N, by least squares of log E.

    Those with fewer than three E defined are left out. Points along one curve are not independent:
    the interval is then too narrow.
    """
    curves: dict[tuple[float, float], list[Reuse]] = {}
    for each in points:
        if each.factor.value is not None:
            curves.setdefault((each.parameters, each.unique), []).append(each)
    return [
        Saturation(*key, _saturation(known))
        for key, known in curves.items()
        if len(known) >= FEWEST
    ]


def _saturation(known: Sequence[Reuse]) -> Profile:
    passes = np.array([each.passes for each in known])
    logs = np.log([each.factor.value or 1.0 for each in known])
    weights = _weights(known)

    def objective(r: float) -> float:
        return float(weights @ np.square(np.log(saturating(passes, r)) - logs))

    from scipy.special import stdtrit

    n = len(known)
    # Student's, since the scatter is known from these few points alone.
    far = n * math.log1p(float(stdtrit(n - 1, 0.975)) ** 2 / (n - 1))
    return profiled(objective, n, far)


def _weights(known: Sequence[Reuse]) -> Array:
    """One over the variances of log E, up to a factor; alike unless all have an interval.

    Widths of intervals are smoothed by a line in their logarithms over log E.
    """
    ends = [(each.factor.low, each.factor.high) for each in known]
    if not all(low is not None and high is not None and 0 < low < high for low, high in ends):
        return np.ones(len(known))
    widths = np.log([math.log(high / low) for low, high in ends if low and high])
    logs = np.log([each.factor.value or 1.0 for each in known])
    if np.ptp(logs) == 0:
        return np.ones(len(known))
    smooth = np.polyval(np.polyfit(logs, widths, 1), logs)
    found: Array = np.exp(2 * (smooth.mean() - smooth))
    return found


def profiled(objective: Callable[[float], float], n: int, far: float) -> Profile:
    """Return the profile of R, and where n log(objective / least) is at most `far`."""
    value, least = least_of(objective)
    told = [objective(r) for r in GRID]
    limit = least * math.exp(far / n)

    def end(towards: float) -> float | None:
        from scipy.optimize import brentq

        if objective(towards) <= limit:
            return None
        outside = math.log(towards)
        found = brentq(
            lambda x: objective(math.exp(x)) - limit, math.log(value), outside, xtol=1e-4
        )
        return math.exp(found)

    return Profile(value, end(GRID[0]), end(GRID[-1]), GRID.tolist(), told, least)


def least_of(objective: Callable[[float], float]) -> tuple[float, float]:
    """Return the R of the least objective, and that: by a grid, and between its neighbours."""
    from scipy.optimize import minimize_scalar

    told = [objective(r) for r in GRID[::2]]
    i = int(np.argmin(told))
    ends = GRID[max(0, 2 * i - 2)], GRID[min(len(GRID) - 1, 2 * i + 2)]
    found = minimize_scalar(lambda x: objective(math.exp(x)), bounds=np.log(ends), method="bounded")
    best = min((float(found.fun), math.exp(found.x)), (told[i], float(GRID[2 * i])))
    return best[1], best[0]
