"""What curves tell of C and beta: the objective along beta, all other parameters fitted anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffprobe.foundations.progress import Progress, silent
from diffprobe.laws.curves import Curve
from diffprobe.laws.fitting import Fit, problem_of
from diffprobe.laws.uncertainty import Uncertainty

ALONG = "beta"
VALUES = np.geomspace(0.03, 10.0, 21)
CHI_SQUARE = 3.84  # the 95 % quantile, one degree of freedom
MOST = 100


@dataclass(frozen=True)
class Profile:
    """The least objective at each value of a parameter.

    Attributes:
        beta: (n,) its values.
        objective: (n,) the least Huber loss there.
        C: (n,) of the fit there, of rates over the peak.
        gamma: (n,) likewise.
        threshold: The objective up to which a value fits as well, at 95 %: residuals of correlated
            noise count as its degrees of freedom.
    """

    beta: tuple[float, ...]
    objective: tuple[float, ...]
    C: tuple[float, ...]
    gamma: tuple[float, ...]
    threshold: float

    def alike(self) -> list[int]:
        """Return which values fit as well as the best."""
        return [i for i, each in enumerate(self.objective) if each <= self.threshold]

    def range(self, name: str) -> tuple[float, float]:
        """Return the least and largest value of a parameter among those that fit as well."""
        values = [getattr(self, name)[i] for i in self.alike()]
        return min(values), max(values)

    def spelled(self, name: str) -> str:
        """Return the range in words, with … where it goes on beyond what was tried."""
        low, high = (f"{value:.2g}" for value in self.range(name))
        alike = self.alike()
        falls = getattr(self, name)[0] > getattr(self, name)[-1]
        ends = (alike[0] == 0, alike[-1] == len(self.beta) - 1)
        at_low, at_high = reversed(ends) if falls else ends
        return f"{'… ' * at_low}{low} to {high}{' …' * at_high}"


def profile(
    fit: Fit, curves: Sequence[Curve], noise: Uncertainty, *, progress: Progress = silent
) -> Profile:
    """Return the profile of beta of a multi-power law.

    From the fitted value on, each fit begins where its neighbour ended.
    """
    problem = problem_of(fit.form, curves)
    at = fit.form.names.index(ALONG)
    middle = int(np.searchsorted(VALUES, fit.parameters[ALONG]))
    found: dict[int, tuple[float, dict[str, float]]] = {}
    with progress(total=len(VALUES), desc="profile", unit="fit") as bar:
        for side in (range(middle, len(VALUES)), range(middle - 1, -1, -1)):
            theta = fit.theta
            for i in side:
                start = theta.copy()
                start[at] = np.log(VALUES[i])
                theta = problem.minimum(start, MOST, {at: start[at]}).x
                found[i] = problem.objective(theta), fit.form.plain(theta)
                bar.update()
    rows = [found[i] for i in range(len(VALUES))]
    least = min(fit.objective, *(objective for objective, _ in rows))
    return Profile(
        beta=tuple(map(float, VALUES)),
        objective=tuple(objective for objective, _ in rows),
        C=tuple(each["C"] for _, each in rows),
        gamma=tuple(each["gamma"] for _, each in rows),
        threshold=least * (1 + CHI_SQUARE / max(1.0, noise.degrees)),
    )
