"""The scaling law with repeated data: data wear off, and so do parameters.

With the size of a network and losses of many trainings the saturating form stands within a scaling
law, of U different samples, seen K times, and P parameters:

    L = E + A / P'^alpha + B / D'^beta,   D' = U (1 + R_D (1 - exp(-(K - 1) / R_D)))
    P' = U_P (1 + R_P (1 - exp(-(P / U_P - 1) / R_P))),   U_P = min(P, G (G U)^(beta / alpha))

with G = (alpha A / beta B)^(1 / (alpha + beta)): beyond U_P, what U samples are enough for,
parameters wear off too.

Reference:
    Muennighoff et al., "Scaling data-constrained language models", arXiv:2305.16264, equations 5
    to 7; the constants are those of its code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffprobe.foundations.errors import UsageError
from diffprobe.laws.passes import Loss
from diffprobe.laws.saturation import CHI2, FEWEST, Array, Profile, least_of, profiled, saturating

DELTA = 1e-3  # of Huber's loss of log residuals


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

    profile = profiled(least, len(losses), CHI2 / 2)
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
        return least_of(lambda r: self.objective(data, r))[0]


def _worn(times: Array, r: float) -> Array:
    return times if math.isinf(r) else saturating(times, r)
