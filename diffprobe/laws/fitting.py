"""Fitting a law to loss curves: many starts, then least squares with exact derivatives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from diffprobe.foundations.errors import UnfittedLawError, UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.laws.curves import Curve
from diffprobe.laws.law import Law, law_of, shape_starts
from diffprobe.laws.schedule_pieces import Floats, Pieces, Steps

LEAST = 1e-12  # where a law foretells less, it foretells this
DELTA = 1e-3  # of Huber's loss, in log loss: beyond a thousandth errors count by their size
MOST_ROWS = 400  # of a curve; evenly taken
ALPHAS = (0.2, 0.4, 0.7)
BEST = 4  # starts that are followed to the end
ROUGH = 30  # evaluations before the best of them are told apart
MOST = 600
STILL = 1e-3  # of the objective: who gains less in as many evaluations again has arrived
ALPHA_BOUNDS = (-5.0, 2.0)
LARGEST = 80.0  # of log A and log B
# A parameter that curves hardly tell is drawn to what is likely by this much log loss for a factor
# e: about what errors of half a thousandth come to whose neighbours agree.
DRAW = 2e-3


@dataclass(frozen=True)
class Fit:
    """A law with its parameters.

    Attributes:
        law: Its name.
        peak: The highest learning rate of the curves.
        parameters: As the formula of `diffprobe.laws.law` has them: of rates over the peak.
        objective: The sum over rows of Huber's loss of the log residuals, delta 1e-3.
        rows: How many rows were fitted.
    """

    law: str
    peak: float
    parameters: dict[str, float]
    objective: float
    rows: int

    @property
    def form(self) -> Law:
        """The law."""
        return law_of(self.law)

    @property
    def theta(self) -> Floats:
        """The parameters as `Law.loss` takes them: (P,)."""
        return self.form.fitted(self.parameters)

    def loss(self, schedule: Pieces, steps: Steps) -> Floats:
        """Return the loss after each of `steps (n,)` of a schedule: (n,)."""
        return self.form.loss(self.theta, schedule.scaled(self.peak), steps)[0]

    def parameters_of_rates(self) -> dict[str, float]:
        """Return the parameters for rates as the curves have them, as papers print them."""
        found = dict(self.parameters)
        found["A"] *= self.peak ** found["alpha"]
        if "B" in found:
            found["B"] /= self.peak
        if "gamma" in found:
            found["C"] *= self.peak ** (found["gamma"] - 1)
        return found


def fit(law: Law, curves: Sequence[Curve], *, progress: Progress = silent) -> Fit:
    """Return the law's parameters of least Huber loss of log residuals.

    Of every combination of the shape's starts and `ALPHAS` the linear parameters are solved for;
    the best are followed roughly, and the best of those to the end.

    Args:
        law: Which.
        curves: At least one.
        progress: Called as tqdm is.

    Raises:
        UsageError: If the curves cannot tell the parameters.
        UnfittedLawError: If no start converges.
    """
    problem = problem_of(law, curves)
    starts = problem.starts()
    rough = []
    with progress(total=len(starts) + 1, desc=f"fit {law.name}", unit="start") as bar:
        for start in starts:
            rough.append(problem.minimum(start, ROUGH))
            bar.update()
        first = problem.minimum(min(rough, key=lambda each: each.cost).x, MOST)
        # Parameters that hardly matter wander on without end.
        found = first if first.status > 0 else problem.minimum(first.x, MOST)
        bar.update()
    if found.status <= 0 and not first.cost - found.cost < STILL * found.cost:
        raise UnfittedLawError(
            f"the {law.name} law did not converge in {2 * MOST:,} evaluations: give curves of more "
            "schedules, such as a constant, a cosine and a two-stage one"
        )
    return Fit(law.name, problem.peak, law.plain(found.x), problem.objective(found.x), problem.rows)


def problem_of(law: Law, curves: Sequence[Curve]) -> "Problem":
    """Return the problem of fitting a law to curves.

    Raises:
        UsageError: If the curves cannot tell the parameters.
    """
    if not curves:
        raise UsageError("a law is fitted to one curve at least")
    thinned = [curve.thinned(MOST_ROWS) for curve in curves]
    if law.shapes and not any_falls(thinned):
        listed = ", ".join(curve.name for curve in curves)
        raise UsageError(
            f"no learning rate falls in {listed}, so that nothing tells what a fall brings: add a "
            "curve whose rate falls, such as a cosine or a two-stage one"
        )
    return Problem(law, max(curve.schedule.peak for curve in curves), thinned)


class Problem:
    """Residuals of a law on curves, and their derivatives; the last ones are kept."""

    def __init__(self, law: Law, peak: float, curves: Sequence[Curve]) -> None:
        self.law = law
        self.peak = peak
        self.curves = curves
        self.pieces = [curve.schedule.scaled(peak) for curve in curves]
        self.losses = np.concatenate([curve.losses for curve in curves])
        self.rows = len(self.losses)
        self._last: tuple[Floats, Floats, Floats] | None = None

    def predictions(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return the losses of all rows, one curve after another, and derivatives."""
        if self._last is None or not np.array_equal(self._last[0], theta):
            parts = [
                self.law.loss(theta, pieces, curve.steps)
                for pieces, curve in zip(self.pieces, self.curves, strict=True)
            ]
            loss, slopes = (np.concatenate(each) for each in zip(*parts, strict=True))
            self._last = theta.copy(), loss, slopes
        return self._last[1], self._last[2]

    def residuals(self, theta: Floats) -> Floats:
        """Return log of prediction over loss: (n,)."""
        found: Floats = np.log(np.maximum(self.predictions(theta)[0], LEAST) / self.losses)
        return found

    def slopes(self, theta: Floats) -> Floats:
        """Return the derivatives of the residuals: (n, P)."""
        loss, slopes = self.predictions(theta)
        found: Floats = np.where(loss > LEAST, 1 / np.maximum(loss, LEAST), 0.0)[:, None] * slopes
        return found

    def objective(self, theta: Floats) -> float:
        """Return the sum of Huber's loss of the residuals."""
        size = np.abs(self.residuals(theta))
        return float(np.where(size < DELTA, size**2 / 2, DELTA * (size - DELTA / 2)).sum())

    def draws(self) -> tuple[Floats, Floats]:
        """Return, by parameter, how it is drawn to what is likely and what that is: (P,) each."""
        likely = [self.law.likely.get(name) for name in self.law.names]
        strength = np.array([0.0 if each is None else DRAW for each in likely])
        return strength, np.array([each or 0.0 for each in likely])

    def bounds(self) -> tuple[Floats, Floats]:
        """Return the lowest and highest value of each parameter."""
        rest = [(-LARGEST, LARGEST), *self.law.bounds] if self.law.shapes else []
        pairs = [(0.0, self.losses.min()), (-LARGEST, LARGEST), ALPHA_BOUNDS, *rest]
        low, high = np.array(pairs, float).T
        return low, high

    def minimum(self, start: Floats, most: int, fixed: dict[int, float] | None = None) -> Any:
        """Return scipy's result for a start, in at most so many evaluations.

        Args:
            start: (P,).
            most: Evaluations.
            fixed: Values of parameters that are not fitted, by their place.
        """
        from scipy.optimize import least_squares

        free = [i for i in range(len(start)) if i not in (fixed or {})]
        low, high = self.bounds()

        def whole(some: Floats) -> Floats:
            theta = start.copy()
            theta[free] = some
            for at, value in (fixed or {}).items():
                theta[at] = value
            return theta

        strength, likely = self.draws()
        drawn = np.flatnonzero(strength)

        def rows(some: Floats) -> Floats:
            theta = whole(some)
            found: Floats = np.r_[self.residuals(theta), (strength * (theta - likely))[drawn]]
            return found

        def slopes(some: Floats) -> Floats:
            found: Floats = np.r_[self.slopes(whole(some)), np.diag(strength)[drawn]]
            return found[:, free]

        found = least_squares(
            rows,
            np.clip(start, low + 1e-9, high - 1e-9)[free],
            jac=slopes,
            bounds=(low[free], high[free]),
            loss="huber",
            f_scale=DELTA,
            x_scale="jac",
            ftol=1e-9,
            xtol=1e-9,
            gtol=1e-12,
            max_nfev=most,
        )
        found.x = whole(found.x)
        return found

    def starts(self) -> list[Floats]:
        """Return the best starts, of different shapes: (P,) each."""
        found = []
        log_sums = [np.log(p.sums(c.steps)) for p, c in zip(self.pieces, self.curves, strict=True)]
        log_sum = np.concatenate(log_sums)
        for shape in shape_starts(self.law):
            drop = np.concatenate(
                [
                    self.law.terms(shape, pieces, curve.steps)[0]
                    for pieces, curve in zip(self.pieces, self.curves, strict=True)
                ]
            )
            solved = partial(self._solved, log_sum, drop, shape)
            found.append(min(map(solved, ALPHAS), key=lambda each: each[0]))
        found.sort(key=lambda each: each[0])
        return [start for _, start in found[:BEST]]

    def _solved(
        self, log_sum: Floats, drop: Floats, shape: Floats, alpha: float
    ) -> tuple[float, Floats]:
        """The relative squared error, and the parameters, with the linear ones solved for."""
        from scipy.optimize import nnls

        power = np.exp(-alpha * (log_sum - log_sum.max()))  # 1 at the end
        terms = [np.ones_like(power), power, *([-drop] if self.law.shapes else [])]
        (constant, amount, *rest), error = nnls(
            np.stack(terms, 1) / self.losses[:, None], np.ones(self.rows)
        )
        least = 1e-6 * self.losses.min()
        amount = math.log(max(amount, least)) + alpha * log_sum.max()
        drops = [math.log(max(rest[0], least)), *shape] if self.law.shapes else []
        return float(error), np.array([constant, amount, math.log(alpha), *drops])


def any_falls(curves: Sequence[Curve]) -> bool:
    """Whether a learning rate falls in any of the curves, after its warm-up."""
    return any(_falls(curve) for curve in curves)


def _falls(curve: Curve) -> bool:
    starts, falls, _, _ = curve.schedule.falls()
    return bool(np.any(falls[starts <= curve.steps[-1]] > 0))
