"""Learning-rate schedules as a few constant pieces: sums and falls of the rate.

A training of N steps has at most as many pieces as its rate has values; neighbouring steps among
which the rate changes by less than a four-hundredth of its peak share a piece, at their mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

FINENESS = 400  # pieces in which a rate falls from its peak to zero
WARM_UP_PIECES = 20  # of a rise of which no rates are given


@dataclass(frozen=True)
class Pieces:
    """A schedule of constant pieces.

    Attributes:
        starts: (K,) the first step of each piece, rising from 0.
        rates: (K,) the learning rate on it, not negative.
    """

    starts: Steps
    rates: Floats

    @classmethod
    def of_rates(cls, rates: Floats) -> "Pieces":
        """Return the pieces of a rate for each step: (N,) from step 0 on."""
        grid = np.floor(rates / max(float(rates.max()), 1e-300) * FINENESS + 1e-9)
        # A jump, or a level of the grid crossed, begins a piece.
        starts = np.flatnonzero(np.r_[True, np.diff(grid) != 0])
        lengths = np.diff(np.r_[starts, len(rates)])
        return cls(starts, np.add.reduceat(rates, starts) / lengths)

    @classmethod
    def of_rows(cls, steps: Steps, rates: Floats, warm_up: int) -> "Pieces":
        """Return the pieces of a log: each rate holds until the next row.

        Args:
            steps: (n,) rising.
            rates: (n,) in force at these steps.
            warm_up: Steps before the first row over which the rate rose from zero; from there to
                the first row it was as in that row.
        """
        stairs = min(WARM_UP_PIECES, warm_up)
        rise = np.arange(stairs) * warm_up // max(stairs, 1)
        climbed = (np.arange(stairs) + 0.5) / max(stairs, 1) * rates[0]
        starts = np.r_[rise, min(warm_up, steps[0]), steps[1:]].astype(np.int64)
        values = np.r_[climbed, rates]
        new = np.r_[True, np.diff(values) != 0]
        return cls(starts[new], values[new])

    @property
    def peak(self) -> float:
        """The highest rate."""
        return float(self.rates.max())

    @property
    def warm_up(self) -> int:
        """The step at which the rate first stops rising."""
        falling = np.flatnonzero(np.diff(self.rates) <= 0)
        return int(self.starts[falling[0] if len(falling) else -1])

    def scaled(self, peak: float) -> "Pieces":
        """Return the schedule in units of `peak`."""
        return Pieces(self.starts, self.rates / peak)

    def sums(self, steps: Steps) -> Floats:
        """Return the sum of the rates of all steps up to each of `steps (n,)`, itself included."""
        before = np.r_[0.0, np.cumsum(np.diff(self.starts) * self.rates[:-1])]
        piece = np.searchsorted(self.starts, steps, side="right") - 1
        found: Floats = before[piece] + (steps + 1 - self.starts[piece]) * self.rates[piece]
        return found

    def falls(self) -> tuple[Steps, Floats, Floats, Floats]:
        """Return where the rate changes: steps, falls, the new rates, the sums before: (E,) each.

        A rise, the warm-up among them, is a negative fall; before the first step the rate is zero.
        """
        falls = -np.diff(np.r_[0.0, self.rates])
        there = np.flatnonzero(falls)
        sums = np.r_[0.0, np.cumsum(np.diff(self.starts) * self.rates[:-1])]
        return self.starts[there], falls[there], self.rates[there], sums[there]


def check_rates(rates: Floats, where: str) -> None:
    """Raise UsageError unless each rate is a number that is not negative, and one is positive."""
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(wrong):
        raise UsageError(f"{where}: {rates[wrong[0]]} is no learning rate (row {wrong[0] + 1})")
    if not len(rates) or not rates.max() > 0:
        raise UsageError(f"{where}: all learning rates are zero")
