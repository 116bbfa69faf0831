"""Laws of the loss under a learning-rate schedule, in units of the peak rate.

With u_k the rate at step k over the peak of the curves that are fitted, S(s) the sum of u up to
step s, warm-up included, and S_k(s) that from step k to s:

    L(s) = L0 + A S(s)^-alpha − B sum_k (u_{k−1} − u_k) G_k(s)

    multi-power   G_k(s) = 1 − (1 + C u_k^-gamma S_k(s))^-beta
    momentum      G_k(s) = 1 − exp(−(s − k + 1) / tau)
    no-drop       B = 0

The sum runs over all steps, so that the rise of the warm-up counts as a negative fall, by which the
loss of a constant rate holds a term B G. For B and C in units of rates, multiply by peak^-1 and
peak^(gamma − 1).

References:
    Luo et al., "A multi-power law for loss curve prediction across learning rate schedules",
    arXiv:2503.12811, eq. 1; Tissue et al., "Scaling law with learning rate annealing",
    arXiv:2408.11029: their S2 with lambda = exp(−1/tau), its C times tau being our B.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from diffprobe.foundations.errors import unknown_name
from diffprobe.laws.schedule_pieces import Floats, Pieces, Steps

# Of steps and falls at a time: half a dozen arrays of 8 MiB.
PAIRS = 1 << 20
LEAST_RATE = 1e-12  # of the peak; a rate of zero sums to nothing, whatever its power


class Law(ABC):
    """One form of G; its parameters are L0, log A, log alpha, and, with a drop, log B and its own.

    Attributes:
        name: What it is called.
        shapes: Names of the parameters of G; of all but `linear` the logarithm is fitted.
        linear: Those fitted as they are.
        bounds: Of each of them, as it is fitted.
        starts: Values of each of them to start from, as fitted.
        likely: Of parameters that curves hardly tell, what is taken where they do not.
    """

    name: ClassVar[str]
    shapes: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[tuple[float, float], ...]] = ()
    starts: ClassVar[tuple[tuple[float, ...], ...]] = ()
    likely: ClassVar[dict[str, float]] = {}

    @abstractmethod
    def terms(self, shape: Floats, pieces: Pieces, steps: Steps) -> tuple[Floats, Floats]:
        """Return sum_k (u_{k−1} − u_k) G_k and its derivatives by the shape.

        Args:
            shape: (P,) the parameters of G as they are fitted.
            pieces: The schedule over the peak.
            steps: (n,).

        Returns:
            (n,) and (n, P).
        """

    @abstractmethod
    def final(self, shape: Floats, rates: Floats) -> tuple[float, Floats]:
        """Return the same after the last step of a schedule, and its derivatives by the rates.

        Args:
            shape: (P,) the parameters of G as they are fitted.
            rates: (N,) of each step, over the peak.

        Returns:
            A number and (N,).
        """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in their order."""
        return ("L0", "A", "alpha", *(("B", *self.shapes) if self.shapes else ()))

    def plain(self, theta: Floats) -> dict[str, float]:
        """Return the parameters, as the formula has them, of those that are fitted."""
        return {
            name: float(value) if name in ("L0", *self.linear) else math.exp(value)
            for name, value in zip(self.names, theta, strict=True)
        }

    def fitted(self, parameters: dict[str, float]) -> Floats:
        """Return what is fitted, of parameters as the formula has them."""
        return np.array(
            [
                parameters[name] if name in ("L0", *self.linear) else math.log(parameters[name])
                for name in self.names
            ]
        )

    def loss(self, theta: Floats, pieces: Pieces, steps: Steps) -> tuple[Floats, Floats]:
        """Return the loss after each step and its derivatives by what is fitted.

        Args:
            theta: (P,) as `fitted` returns it.
            pieces: The schedule over the peak.
            steps: (n,).

        Returns:
            (n,) and (n, P).
        """
        log_sum = np.log(pieces.sums(steps))
        alpha = math.exp(theta[2])
        power = np.exp(theta[1] - alpha * log_sum)
        columns = [np.ones_like(power), power, -power * alpha * log_sum]
        if not self.shapes:
            return theta[0] + power, np.stack(columns, 1)
        drop, slopes = self.terms(theta[4:], pieces, steps)
        amount = math.exp(theta[3])
        columns += [-amount * drop, *(-amount * slopes).T]
        return theta[0] + power - amount * drop, np.stack(columns, 1)

    def final_loss(self, theta: Floats, rates: Floats) -> tuple[float, Floats]:
        """Return the loss after the last step of a schedule, and its derivatives by the rates.

        Args:
            theta: (P,) as `fitted` returns it.
            rates: (N,) of each step, over the peak.

        Returns:
            A number and (N,).
        """
        alpha, total = math.exp(theta[2]), float(rates.sum())
        power = math.exp(theta[1] - alpha * math.log(total))
        if not self.shapes:
            return theta[0] + power, np.full(len(rates), -alpha * power / total)
        drop, by_rate = self.final(theta[4:], rates)
        amount = math.exp(theta[3])
        return theta[0] + power - amount * drop, -alpha * power / total - amount * by_rate


class MultiPower(Law):
    """The multi-power law of Luo et al."""

    name = "multi-power"
    shapes = ("C", "beta", "gamma")
    linear = ("gamma",)
    # At gamma above 1 a rate of nearly nothing would bring all of its drop at once.
    bounds = ((-16.0, 8.0), (-5.0, 4.0), (0.0, 1.0))
    likely: ClassVar[dict[str, float]] = {"beta": math.log(0.5)}
    starts = ((-6.0, -4.0, -2.0, 0.0), (-1.2, -0.5, 0.3), (0.1, 0.6))

    def terms(self, shape: Floats, pieces: Pieces, steps: Steps) -> tuple[Floats, Floats]:
        """Return the drop and its slopes; see `Law.terms`."""
        log_c, beta, gamma = shape[0], math.exp(shape[1]), shape[2]
        starts, falls, rates, before = pieces.falls()
        log_rate = np.log(np.maximum(rates, LEAST_RATE))
        factor = np.exp(log_c - gamma * log_rate)
        sums = pieces.sums(steps)
        drop, slopes = np.empty(len(steps)), np.empty((len(steps), 3))
        for part in _chunks(len(steps), len(starts)):
            weight = np.where(starts <= steps[part, None], falls, 0.0)
            x = factor * np.maximum(sums[part, None] - before, 0.0)
            log_x = np.log1p(x)
            left = np.exp(-beta * log_x)
            drop[part] = np.sum(weight * (1 - left), 1)
            left *= beta * weight
            slopes[part, 1] = np.sum(left * log_x, 1)
            left *= x / (1 + x)
            slopes[part, 0] = np.sum(left, 1)
            slopes[part, 2] = -left @ log_rate
        return drop, slopes

    def final(self, shape: Floats, rates: Floats) -> tuple[float, Floats]:
        """Return the drop at the end; see `Law.final`."""
        log_c, beta, gamma = shape[0], math.exp(shape[1]), shape[2]
        u = np.maximum(rates, LEAST_RATE)
        factor = np.exp(log_c - gamma * np.log(u))
        x = factor * np.cumsum(rates[::-1])[::-1]
        left = np.exp(-beta * np.log1p(x))
        falls = -np.diff(np.r_[0.0, rates])
        by_x = falls * beta * left / (1 + x)
        by_rate = _by_falls(1 - left) + np.cumsum(by_x * factor) - gamma * by_x * x / u
        return float(falls @ (1 - left)), by_rate


class Momentum(Law):
    """The momentum law of Tissue et al.: what a fall brings comes after a number of steps."""

    name = "momentum"
    shapes = ("tau",)
    bounds = ((0.0, 16.0),)
    starts = ((3.0, 4.5, 6.0, 7.5, 9.0),)

    def terms(self, shape: Floats, pieces: Pieces, steps: Steps) -> tuple[Floats, Floats]:
        """Return the drop and its slope; see `Law.terms`."""
        tau = math.exp(shape[0])
        starts, falls, _, _ = pieces.falls()
        drop, slopes = np.empty(len(steps)), np.empty((len(steps), 1))
        for part in _chunks(len(steps), len(starts)):
            x = np.maximum(steps[part, None] + 1 - starts, 0) / tau
            left = np.exp(-x)
            drop[part] = (1 - left) @ falls
            slopes[part, 0] = -(x * left) @ falls
        return drop, slopes

    def final(self, shape: Floats, rates: Floats) -> tuple[float, Floats]:
        """Return the drop at the end; see `Law.final`."""
        brought = -np.expm1(-np.arange(len(rates), 0, -1) / math.exp(shape[0]))
        return float(-np.diff(np.r_[0.0, rates]) @ brought), _by_falls(brought)


class NoDrop(Law):
    """A power of the sum of rates alone: no term of the decay."""

    name = "no-drop"

    def terms(self, shape: Floats, pieces: Pieces, steps: Steps) -> tuple[Floats, Floats]:
        """Return zeros; see `Law.terms`."""
        return np.zeros(len(steps)), np.zeros((len(steps), 0))

    def final(self, shape: Floats, rates: Floats) -> tuple[float, Floats]:
        """Return nothing; see `Law.final`."""
        return 0.0, np.zeros(len(rates))


LAWS: dict[str, Law] = {law.name: law for law in (MultiPower(), Momentum(), NoDrop())}


def law_of(name: str) -> Law:
    """Return a law by its name.

    Raises:
        UsageError: If there is none, naming the nearest.
    """
    if name not in LAWS:
        raise unknown_name("law", name, LAWS)
    return LAWS[name]


def shape_starts(law: Law) -> Iterator[Floats]:
    """Yield the shapes to start from: every value with every other."""
    yield from (np.array(each) for each in itertools.product(*law.starts))


def _by_falls(brought: Floats) -> Floats:
    """Derivatives by the rates of a sum over falls, which weighs each by what it brought."""
    return np.diff(np.r_[brought, 0.0])


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, PAIRS // max(1, columns))
    return (slice(at, at + size) for at in range(0, rows, size))
