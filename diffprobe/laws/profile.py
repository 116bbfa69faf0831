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
MOST = 100


@dataclass(frozen=True)
class Profile:
    """The least objective at each value of a parameter.

    Attributes:
        beta: (n,) its values.
        objective: (n,) the least Huber loss there.
        C: (n,) of the fit there, of rates over the peak.
        gamma: (n,) likewise.
        threshold: The objective up to which a value fits as well, at 95 %: half of Student's
            quantile squared above the least, times the size of the noise and how much more a
            parameter varies for its correlation.
    """

    beta: tuple[float, ...]
    objective: tuple[float, ...]
    C: tuple[float, ...]
    gamma: tuple[float, ...]
    threshold: float

    def ends(self) -> tuple[float, float]:
        """Return between which places of the grid a value fits as well, between two on a line."""
        objective = np.array(self.objective)
        best = int(objective.argmin())
        # The root of a parabola is a line.
        root = np.sqrt(objective - objective[best])
        enough = np.sqrt(self.threshold - objective[best])
        worse = np.flatnonzero(root > enough)

        def crossed(last: int, first: int) -> float:
            """The place between two neighbours, the first of which fits as well."""
            return first + (last - first) * float(
                (enough - root[first]) / (root[last] - root[first])
            )

        low, high = worse[worse < best], worse[worse > best]
        return (
            crossed(low[-1], low[-1] + 1) if len(low) else 0.0,
            crossed(high[0], high[0] - 1) if len(high) else len(objective) - 1.0,
        )

    def range(self, name: str) -> tuple[float, float]:
        """Return the least and largest value of a parameter among those that fit as well."""
        places = np.arange(len(self.beta))
        logs = np.log(np.maximum(getattr(self, name), 1e-12))
        low, high = self.ends()
        within = [low, *places[(places > low) & (places < high)], high]
        values = np.exp(np.interp(within, places, logs))
        return float(values.min()), float(values.max())

    def spelled(self, name: str) -> str:
        """Return the range in words, with … where it goes on beyond what was tried."""
        low, high = (f"{value:.2g}" for value in self.range(name))
        first, last = self.ends()
        below, above = ("… " if first == 0 else ""), (" …" if last == len(self.beta) - 1 else "")
        if getattr(self, name)[0] > getattr(self, name)[-1]:
            below, above = above[::-1], below[::-1]
        return f"{below}{low} to {high}{above}"


def profile(
    fit: Fit, curves: Sequence[Curve], noise: Uncertainty, *, progress: Progress = silent
) -> Profile:
    """Return the profile of beta of a multi-power law.

    From the fitted value on, each fit begins where its neighbour ended.
    """
    problem = problem_of(fit.form, curves)
    at = fit.form.names.index(ALONG)
    values = np.unique(np.r_[VALUES, fit.parameters[ALONG]])
    middle = int(np.searchsorted(values, fit.parameters[ALONG]))
    found: dict[int, tuple[float, dict[str, float]]] = {}
    with progress(total=len(values), desc="profile", unit="fit") as bar:
        for side in (range(middle, len(values)), range(middle - 1, -1, -1)):
            theta = fit.theta
            for i in side:
                start = theta.copy()
                start[at] = np.log(values[i])
                theta = problem.minimum(start, MOST, {at: start[at]}).x
                found[i] = problem.objective(theta), fit.form.plain(theta)
                bar.update()
    rows = [found[i] for i in range(len(values))]
    least = min(objective for objective, _ in rows)
    return Profile(
        beta=tuple(map(float, values)),
        objective=tuple(objective for objective, _ in rows),
        C=tuple(each["C"] for _, each in rows),
        gamma=tuple(each["gamma"] for _, each in rows),
        threshold=least + noise.rise(at),
    )
