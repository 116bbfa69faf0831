"""The loss that a law foretells for a schedule, with its interval."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffprobe.foundations.tables import Table
from diffprobe.laws.judging import Judgement
from diffprobe.laws.schedule_pieces import Floats, Pieces, Steps

ROWS = 400  # of a prediction, evenly over the steps
NEAR = 0.1  # a peak this far from that of the curves is another one


@dataclass(frozen=True)
class Prediction(Table):
    """A foretold loss curve.

    Attributes:
        steps: (n,) counted from 0.
        rates: (n,) the learning rate at these steps.
        losses: (n,) after them.
        low, high: (n,) the 95 % interval of one reading of the loss of one new run.
    """

    steps: Steps
    rates: Floats
    losses: Floats
    low: Floats
    high: Floats

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each step."""
        names = ("step", "lr", "loss", "low", "high")
        columns = (self.steps, self.rates, self.losses, self.low, self.high)
        lists = (column.tolist() for column in columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def predict(law: Judgement, schedule: Pieces, steps: Steps) -> Prediction:
    """Return the loss that a law foretells after each of `steps (n,)` of a schedule."""
    losses = law.fit.loss(schedule, steps)
    half = law.uncertainty.half_width(law.fit, schedule, steps)
    piece = np.searchsorted(schedule.starts, steps, side="right") - 1
    return Prediction(
        steps, schedule.rates[piece], losses, losses * np.exp(-half), losses * np.exp(half)
    )


def steps_of(schedule: Pieces, steps: int) -> Steps:
    """Return at most `ROWS` steps of a schedule of that length, after its warm-up: (n,)."""
    first = min(schedule.warm_up, steps - 1)
    return np.unique(np.linspace(first, steps - 1, ROWS).round().astype(np.int64))


def beyond(law: Judgement, reach: float, schedule: Pieces, last: int) -> list[str]:
    """Say where a schedule leaves what the curves tell of: in words, one line each."""
    notes = []
    peak = law.fit.peak
    if abs(schedule.peak / peak - 1) > NEAR:
        notes.append(f"its peak is {schedule.peak:g}, and that of the law's curves {peak:g}")
    times = float(schedule.sums(np.array([last]))[0]) / peak / reach
    if times > 1 + NEAR:
        notes.append(f"its learning rates sum to {times:.1f} times those of the longest curve")
    return notes
