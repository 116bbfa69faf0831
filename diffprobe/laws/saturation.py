"""How reuse wears off: the saturating form of E(K), and the scaling law with repeated data.

    E(K) = 1 + R (1 - exp(-(K - 1) / R))

is K while K << R, and 1 + R at last. With the size of a network and losses of many trainings the
same form stands within a scaling law, of U different samples, seen K times, and P parameters:

    L = E + A / P'^alpha + B / D'^beta,   D' = U (1 + R_D (1 - exp(-(K - 1) / R_D)))
    P' = U_P (1 + R_P (1 - exp(-(P / U_P - 1) / R_P))),   U_P = min(P, G (G U)^(beta / alpha))

with G = (alpha A / beta B)^(1 / (alpha + beta)): beyond U_P, what U samples are enough for,
parameters wear off too. R is often hardly told by the data. So it comes with a profile: the least
objective with R held, and the R whose objective is as good: 95 % of the likelihood ratio, by F of a
few points of E and by chi² of many trainings.

Reference:
    Muennighoff et al., "Scaling data-constrained language models", arXiv:2305.16264, equations 5
    to 7; the constants are those of its code.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError
from diffprobe.laws.passes import Loss
from diffprobe.laws.reuse import Reuse

Array = NDArray[float64]
DELTA = 1e-3  # of Huber's loss of log residuals
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


@dataclass(frozen=True)
class Constants:
    """What a scaling law has beside R: in its formula E, A, alpha, B, beta."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise UsageError(f"--constants: {name} must be positive, not {value}")

    @classmethod
    def parse(cls, text: str) -> "Constants":
        """Read "published", or E=…,A=…,alpha=…,B=…,beta=….

        Raises:
            UsageError: If a constant is missing, or no positive number.
        """
        if text == "published":
            return PUBLISHED
        parts = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
        if parts.keys() != cls.__dataclass_fields__.keys():
            raise UsageError(
                f"--constants takes 'published', or E=…,A=…,alpha=…,B=…,beta=…, not {text!r}"
            )
        try:
            return cls(**{name: float(value) for name, value in parts.items()})
        except ValueError as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"--constants {text!r}: {error}") from error


PUBLISHED = Constants(
    E=math.exp(0.6254804),
    A=math.exp(6.255414),
    alpha=0.3526596,
    B=math.exp(7.3049974),
    beta=0.3526596,
)


@dataclass(frozen=True)
class ScalingFit:
    """The scaling law with repeated data, fitted to trainings.

    Attributes:
        data: R_D, with its profile.
        parameters: R_P at the least objective.
        r2: Of the losses.
        objective: The sum of Huber's loss, delta 1e-3, of log residuals.
        r2_as_new: R² where what is repeated counts as new.
        n: How many trainings.
    """

    data: Profile
    parameters: float
    r2: float
    objective: float
    r2_as_new: float
    n: int


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
    return _profile(objective, n, far)


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


def fit_scaling(losses: Sequence[Loss], constants: Constants) -> ScalingFit:
    """Return R_D and R_P of the scaling law, its other constants given.

    The interval of R_D takes log residuals for Laplace's, to whose likelihood the objective comes
    near: R_D whose n log(objective) is at most 1.92 above the least.

    Args:
        losses: The last of each training, parameters told.
        constants: In the units of the losses' parameters and samples.

    Raises:
        UsageError: If parameters are not told, or there are fewer than three trainings.
    """
    if len(losses) < FEWEST or not all(row.parameters for row in losses):
        raise UsageError(
            f"the scaling law needs {FEWEST} trainings at least and the column parameters of each"
        )
    law = ScalingLaw(losses, constants)

    def least(data: float) -> float:
        return law.objective(data, law.best_parameters(data))

    profile = _profile(least, len(losses), CHI2 / 2)
    parameters = law.best_parameters(profile.value)
    return ScalingFit(
        profile,
        parameters,
        law.r2(profile.value, parameters),
        law.objective(profile.value, parameters),
        law.r2(math.inf, math.inf),
        len(losses),
    )


class ScalingLaw:
    """The formula of this module, and how well it tells the losses of trainings.

    Args:
        losses: Parameters told.
        constants: In their units.
    """

    def __init__(self, losses: Sequence[Loss], constants: Constants) -> None:
        self.constants = c = constants
        self.loss = np.array([row.loss for row in losses])
        size = np.array([row.parameters for row in losses])
        self.unique = np.array([min(row.unique, row.seen) for row in losses])
        self.passes = np.array([row.passes for row in losses])
        g = (c.alpha * c.A / (c.beta * c.B)) ** (1 / (c.alpha + c.beta))
        self.enough = np.minimum(size, (self.unique * g) ** (c.beta / c.alpha) * g)
        self.times = size / self.enough

    def predict(self, data: float, parameters: float) -> Array:
        """Return the loss of each training, with R_D and R_P: (n,); infinite ones wear nothing."""
        c = self.constants
        samples = self.unique * _worn(self.passes, data)
        size = self.enough * _worn(self.times, parameters)
        found: Array = c.E + c.A / size**c.alpha + c.B / samples**c.beta
        return found

    def objective(self, data: float, parameters: float) -> float:
        """Return the sum of Huber's loss of log residuals."""
        apart = np.abs(np.log(self.predict(data, parameters) / self.loss))
        inside = np.minimum(apart, DELTA)
        return float((inside * (apart - inside / 2)).sum())

    def r2(self, data: float, parameters: float) -> float:
        """Return the share of the losses' variance that is told."""
        apart = self.loss - self.predict(data, parameters)
        spread = self.loss - self.loss.mean()
        return 1 - float(apart @ apart) / float(spread @ spread)

    def best_parameters(self, data: float) -> float:
        """Return R_P of the least objective with this R_D."""
        return _least(lambda r: self.objective(data, r))[0]


def _worn(times: Array, r: float) -> Array:
    return times if math.isinf(r) else saturating(times, r)


def _profile(objective: Callable[[float], float], n: int, far: float) -> Profile:
    """The profile of R, and where n log(objective / least) is at most `far`."""
    value, least = _least(objective)
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


def _least(objective: Callable[[float], float]) -> tuple[float, float]:
    """The R of the least objective, and that: by a grid, and then between its neighbours."""
    from scipy.optimize import minimize_scalar

    told = [objective(r) for r in GRID[::2]]
    i = int(np.argmin(told))
    ends = GRID[max(0, 2 * i - 2)], GRID[min(len(GRID) - 1, 2 * i + 2)]
    found = minimize_scalar(lambda x: objective(math.exp(x)), bounds=np.log(ends), method="bounded")
    best = min((float(found.fun), math.exp(found.x)), (told[i], float(GRID[2 * i])))
    return best[1], best[0]
