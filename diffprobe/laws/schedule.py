"""The schedule of a given length whose final loss a law foretells to be least.

The rate rises to the peak over the warm-up and then falls, never rises, along straight lines
between knots, which lie ever closer towards the end, where rates change most. How the fall from the
peak to the least rate is shared out among the lines, and what of it is left out, is a softmax, so
that every schedule is monotone and positive, and the gradient is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.settings import check_positive
from diffprobe.laws.fitting import Fit
from diffprobe.laws.schedule_pieces import Floats, Pieces

KNOTS = 96
LEAST_RATE = 1e-3  # of the peak, below which no schedule goes
MOST = 1000  # evaluations from each start


@dataclass(frozen=True)
class Optimised:
    """A schedule and what a law foretells of it.

    Attributes:
        rates: (steps,) the learning rate of each step.
        loss: After the last one.
    """

    rates: Floats
    loss: float


def exact_pieces(rates: Floats) -> Pieces:
    """Return a schedule with a piece for each step: (N,)."""
    return Pieces(np.arange(len(rates)), rates)


def final_loss(fit: Fit, rates: Floats) -> float:
    """Return the loss after the last step of a schedule: (N,)."""
    return float(fit.loss(exact_pieces(rates), np.array([len(rates) - 1]))[0])


def optimise(
    fit: Fit,
    steps: int,
    warm_up: int,
    *,
    peak: float | None = None,
    least: float = LEAST_RATE,
    progress: Progress = silent,
) -> Optimised:
    """Return the schedule of the least foretold final loss.

    Args:
        fit: A law with a drop.
        steps: Its length.
        warm_up: Steps over which the rate rises from zero to the peak.
        peak: The highest rate; by default that of the law's curves.
        least: The lowest rate after the warm-up, over the peak, in (0, 1].
        progress: Called as tqdm is.

    Raises:
        UsageError: If the law has no drop, or lengths and rates do not fit each other.
    """
    check_positive(steps=steps)
    if not fit.form.shapes:
        raise UsageError(f"the {fit.law} law has no term of the decay: no schedule is best by it")
    if not 0 <= warm_up <= steps - 2:
        raise UsageError(f"a warm-up of {warm_up:,} steps does not fit a training of {steps:,}")
    if not 0 < least <= 1:
        raise UsageError(f"the least rate must lie in (0, 1], a share of the peak, not {least:g}")
    top = fit.peak if peak is None else peak
    if not 0 < top < np.inf:
        raise UsageError(f"the peak must be a positive learning rate, not {top:g}")
    problem = _Problem(fit, steps, warm_up, top, least)
    found = []
    shares = problem.starts()
    with progress(total=len(shares), desc="schedule", unit="start") as bar:
        for share in shares:
            found.append(problem.solved(share))
            bar.update()
    rates = min(found, key=lambda each: final_loss(fit, each))
    return Optimised(rates, final_loss(fit, rates))


class _Problem:
    """The final loss as a function of how the fall is shared out."""

    def __init__(self, fit: Fit, steps: int, warm_up: int, top: float, least: float) -> None:
        self.form, self.theta, self.peak = fit.form, fit.theta, fit.peak
        self.warm_up, self.top, self.least = warm_up, top, least
        n = steps - warm_up
        even = np.linspace(0, 1, KNOTS)
        self.knots = np.unique(((n - 1) * (1 - (1 - even) ** 3)).round())
        self.rise = np.arange(warm_up) / max(1, warm_up) * top
        # Each step lies between two knots, and has a share of each.
        at = np.arange(n)
        self.left = np.clip(np.searchsorted(self.knots, at, side="right") - 1, 0, None)
        self.left = np.minimum(self.left, max(0, len(self.knots) - 2))
        gap = np.diff(np.r_[self.knots, self.knots[-1] + 1])[self.left]
        self.along = (at - self.knots[self.left]) / gap

    def starts(self) -> Sequence[Floats]:
        """Shares of the fall between knots, and the share left out: linear, and late."""
        x = self.knots / max(1.0, self.knots[-1])
        late = np.clip((x - 0.7) / 0.3, 0, None) ** 0.7
        shares = []
        for fallen in (x, np.sin(np.pi / 2 * x) ** 2, late):
            each = np.r_[np.diff(fallen * 0.98), 0.02] + 1e-4
            shares.append(np.log(each / each.sum()))
        return shares

    def solved(self, start: Floats) -> Floats:
        """Rates of all steps from a start on."""
        from scipy.optimize import minimize

        found = minimize(
            self.loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST, "maxcor": 30}
        )
        return self.rates(found.x)[0]

    def rates(self, logits: Floats) -> tuple[Floats, Floats]:
        """Rates of all steps, and the shares of the fall."""
        share = np.exp(logits - logits.max())
        share /= share.sum()
        at_knots = 1 - np.r_[0.0, np.cumsum(share[:-1])] * (1 - self.least)
        right = np.minimum(self.left + 1, len(self.knots) - 1)
        u = at_knots[self.left] * (1 - self.along) + at_knots[right] * self.along
        return np.r_[self.rise, self.top * u], share

    def loss(self, logits: Floats) -> tuple[float, Floats]:
        """The final loss and its gradient."""
        rates, share = self.rates(logits)
        loss, by_rate = self.form.final_loss(self.theta, rates / self.peak)
        by_step = by_rate[self.warm_up :] * self.top / self.peak
        by_knot = np.bincount(self.left, by_step * (1 - self.along), len(self.knots))
        right = np.minimum(self.left + 1, len(self.knots) - 1)
        by_knot += np.bincount(right, by_step * self.along, len(self.knots))
        # A share lowers every knot behind it.
        behind = np.cumsum(by_knot[::-1])[::-1]
        by_share = np.r_[-behind[1:], 0.0] * (1 - self.least)
        return loss, share * (by_share - share @ by_share)
