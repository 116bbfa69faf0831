"""Errors of a law on curves: those that were fitted, or better, those that were not."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from diffprobe.laws.curves import Curve
from diffprobe.laws.fitting import Fit


@dataclass(frozen=True)
class Errors:
    """How far predictions are off, over all rows of a curve.

    Attributes:
        r2: One less the squared error over the variance of the loss.
        mae: Mean absolute error.
        rmse: Root of the mean square.
        relative: Mean absolute error over the loss.
        worst: The largest of these.
        last: Predicted less measured loss at the last row.
    """

    r2: float
    mae: float
    rmse: float
    relative: float
    worst: float
    last: float


def errors_of(fit: Fit, curve: Curve) -> Errors:
    """Return the errors of a law on a curve."""
    error = fit.loss(curve.schedule, curve.steps) - curve.losses
    share = np.abs(error) / curve.losses
    spread = np.sum((curve.losses - curve.losses.mean()) ** 2)
    return Errors(
        r2=float(1 - np.sum(error**2) / spread) if spread else float("nan"),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt(np.mean(error**2))),
        relative=float(share.mean()),
        worst=float(share.max()),
        last=float(error[-1]),
    )


def mean_errors(errors: Sequence[Errors]) -> Errors:
    """Return the means over curves, each counted alike; of `last`, that of its size."""
    names = [f.name for f in fields(Errors) if f.name != "last"]
    means = {name: float(np.mean([getattr(e, name) for e in errors])) for name in names}
    return Errors(**means, last=float(np.mean([abs(e.last) for e in errors])))
