"""How far a law's predictions may be off: from its own residuals, and from held-out curves.

The log residuals of a curve are taken as noise of one size whose correlation falls by a factor e
over a number of steps; curves are independent. Residuals of a fit are smaller than the noise, and
agree less with their neighbours: with M = I − H, H the projection of the fit and R correlations,
their covariance is sigma² M R M. Length and size are those for which it has the residuals' own sum
of squares and of products of neighbours. Then, to first order,

    Cov(theta) = sigma² P J' R J P,   P = (J'J + ridge)^-1
    Var(log loss of a new run) = j Cov(theta) j' + sigma²

and the 95 % interval is Student's with tr(V)² / tr(V²) degrees of freedom, V = M R M. It is that of
one reading of the loss of one new run. Where curves were held out and miss by more than that, it is
widened by how much more, and by Student's quantile for as many curves: what no noise explains, the
form of the law, is in it then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffprobe.laws.curves import Curve
from diffprobe.laws.fitting import Fit, Problem, problem_of
from diffprobe.laws.schedule_pieces import Floats, Pieces, Steps

LENGTHS = 25  # lengths of correlation that are tried, over all that the rows can tell
KNOWN = 3.0  # a parameter that nothing tells is known to a factor e^3


@dataclass(frozen=True)
class Uncertainty:
    """What an interval of predictions is made of.

    Attributes:
        sigma: Size of the noise, in log loss.
        length: Steps over which its correlation falls by a factor e.
        degrees: Of freedom, of sigma.
        covariance: (P, P) of the parameters as they are fitted.
        inflation: (P,) how much larger its diagonal is than it were if neighbours did not agree.
        widening: By how much errors of held-out curves are larger; 1 without any.
        held_out: How many curves that rests on.
    """

    sigma: float
    length: float
    degrees: float
    covariance: tuple[tuple[float, ...], ...]
    inflation: tuple[float, ...]
    widening: float = 1.0
    held_out: int = 0

    def half_width(self, fit: Fit, schedule: Pieces, steps: Steps) -> Floats:
        """Return how far the 95 % interval of the log loss reaches: (n,)."""
        return self._quantile() * self._deviation(fit, schedule, steps)

    def widened(self, fit: Fit, curves: Sequence[Curve]) -> "Uncertainty":
        """Return the same, as curves that were not fitted have it."""
        if not curves:
            return self
        squares = [
            np.mean((log_errors(fit, c) / self._deviation(fit, c.schedule, c.steps)) ** 2)
            for c in curves
        ]
        widening = max(1.0, math.sqrt(float(np.mean(squares))))
        return replace(self, widening=widening, held_out=len(curves))

    def rise(self, parameter: int) -> float:
        """Return by how much the objective rises at the ends of a parameter's 95 % interval."""
        return self._student() ** 2 / 2 * self.sigma**2 * self.inflation[parameter]

    def _student(self) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(max(1.0, self.degrees), 0.975))

    def _quantile(self) -> float:
        from scipy.special import stdtrit

        if self.widening == 1.0:
            return self._student()
        return max(self._student(), self.widening * float(stdtrit(self.held_out, 0.975)))

    def _deviation(self, fit: Fit, schedule: Pieces, steps: Steps) -> Floats:
        loss, slopes = fit.form.loss(fit.theta, schedule.scaled(fit.peak), steps)
        slopes = slopes / loss[:, None]
        of_law = np.einsum("np,pq,nq->n", slopes, np.array(self.covariance), slopes)
        found: Floats = np.sqrt(np.maximum(of_law, 0.0) + self.sigma**2)
        return found


def log_errors(fit: Fit, curve: Curve) -> Floats:
    """Return the log of the predicted over the measured loss of each row: (n,)."""
    found: Floats = np.log(fit.loss(curve.schedule, curve.steps) / curve.losses)
    return found


def uncertainty_of(fit: Fit, curves: Sequence[Curve]) -> Uncertainty:
    """Return the uncertainty of a law from its residuals on the curves it was fitted to."""
    problem = problem_of(fit.form, curves)
    residuals, slopes = problem.residuals(fit.theta), problem.slopes(fit.theta)
    strength, _ = problem.draws()
    rough = float(residuals @ residuals) / max(1, len(residuals) - slopes.shape[1])
    ridge = np.diag(np.maximum(strength**2, rough / KNOWN**2))
    inverse = np.linalg.inv(slopes.T @ slopes + ridge)
    gaps, together = _gaps(problem)
    neighbours = np.flatnonzero(together[np.arange(len(gaps) - 1), np.arange(1, len(gaps))])
    square = float(residuals @ residuals)
    agreement = float(residuals[neighbours] @ residuals[neighbours + 1]) / square

    def covariance(length: float) -> tuple[Floats, Floats]:
        correlations = np.where(together, np.exp(-gaps / length), 0.0)
        beside = inverse @ (slopes.T @ correlations)
        hat = slopes @ beside
        both = slopes @ (beside @ slopes) @ inverse @ slopes.T
        return correlations, correlations - hat - hat.T + both

    def miss(length: float) -> float:
        of_residuals = covariance(length)[1]
        lagged = of_residuals[neighbours, neighbours + 1].sum() / np.trace(of_residuals)
        return abs(float(lagged) - agreement)

    spans = [float(c.steps[-1] - c.steps[0]) for c in problem.curves]
    steps = float(np.median(np.concatenate([np.diff(c.steps) for c in problem.curves])))
    length = min(np.geomspace(steps / 5, max(spans), LENGTHS), key=miss)
    correlations, of_residuals = covariance(float(length))
    variance = square / float(np.trace(of_residuals))
    degrees = float(np.trace(of_residuals)) ** 2 / float(np.sum(of_residuals**2))
    middle = slopes.T @ correlations @ slopes
    found = variance * inverse @ middle @ inverse
    inflation = np.diag(found) / (variance * np.diag(inverse))
    return Uncertainty(
        math.sqrt(variance),
        float(length),
        degrees,
        tuple(map(tuple, found.tolist())),
        tuple(inflation.tolist()),
    )


def _gaps(problem: Problem) -> tuple[Floats, "np.typing.NDArray[np.bool_]"]:
    """Steps between each two rows, and whether they are of one curve: (n, n) each."""
    steps = np.concatenate([c.steps for c in problem.curves]).astype(float)
    curve = np.repeat(np.arange(len(problem.curves)), [len(c.steps) for c in problem.curves])
    return np.abs(steps[:, None] - steps), curve[:, None] == curve
