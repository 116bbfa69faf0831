"""The effective reuse rate E(K, N): what K passes over N samples are worth in fresh ones.

E(K, N) N is where the curve of one pass first comes down to the loss of K passes over N samples, on
the straight line in log(samples) between two of its points. Each side is at its best learning rate:
of rows that differ in their rate alone the least loss counts. Where the curve of one pass does not
reach the loss, or begins below it, E is not defined, and the bound that the curve's end gives is
told instead.

A curve may be smoothed by the mean over a window of its points: the first crossing of a noisy curve
comes too early. Intervals are 95 % ones: over seeds of log E where there are several, and with one
seed where the curve passes the loss and 1.96 sqrt(2) of its points' scatter more, or less. That is
told by each point and the line between its neighbours, and stands for the scatter of both curves.

Reference:
    "Larger datasets can be repeated more: a theoretical analysis of multi-epoch scaling in linear
    regression", arXiv:2511.13421.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.statistics import Z95
from diffprobe.foundations.tables import Table, write_csv
from diffprobe.laws.passes import Loss

Array = NDArray[float64]
FEWEST = 5  # points of a curve that tell its scatter
ENDS = "one pass ends before it reaches the loss"
BEGINS = "the curve of one pass begins below the loss"
NO_CURVE = "there is no curve of one pass for this network"
MOST = 12  # rows of one N that are all told; of more, those at 2, 4, 8, … passes


@dataclass(frozen=True)
class Reuse:
    """What K passes over N samples are worth.

    Attributes:
        parameters: Of the network; 0 where they are not told.
        unique: N.
        passes: K.
        loss: After them, the mean over seeds.
        factor: E, with its interval.
        above, below: Bounds that the ends of the curve of one pass give, where E is not defined.
    """

    parameters: float
    unique: float
    passes: float
    loss: float
    factor: Estimate
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, repr=False)
class ReuseTable(Table):
    """E for each K and N.

    Attributes:
        content: In order of parameters, N and K.
        smooth: Points that were averaged.
    """

    content: list[Reuse]
    smooth: int = 1

    def rows(self) -> list[dict[str, float | None]]:
        """Return one row for each K and N; what is not defined is None."""
        return [
            {
                "parameters": each.parameters or None,
                "unique": each.unique,
                "passes": each.passes,
                "loss": each.loss,
                "reuse": each.factor.value,
                "low": each.factor.low,
                "high": each.factor.high,
                "above": each.above,
                "below": each.below,
            }
            for each in self.content
        ]

    def write_csv(self, path: Path) -> None:
        """Write the rows as CSV; what is not defined is empty."""
        write_csv(path, self.rows())


@dataclass(frozen=True)
class _Curve:
    """Losses by samples seen: (n,) each, rising in the first; and their scatter, if it is known."""

    seen: Array
    loss: Array
    scatter: float | None

    @classmethod
    def of(cls, rows: Sequence[Loss], smooth: int) -> "_Curve":
        least: dict[float, float] = {}
        for row in rows:
            least[row.seen] = min(row.loss, least.get(row.seen, math.inf))
        seen = np.array(sorted(least))
        loss = np.array([least[each] for each in seen])
        scatter = _scatter(np.log(seen), loss)
        window = min(smooth, len(loss))
        sums = np.convolve(loss, np.ones(window), "same")
        counts = np.convolve(np.ones(len(loss)), np.ones(window), "same")
        return cls(seen, sums / counts, None if scatter is None else scatter / math.sqrt(window))

    def at(self, seen: float) -> float | None:
        """The loss after as many samples; None where the curve does not go."""
        if not self.seen[0] * (1 - 1e-9) <= seen <= self.seen[-1] * (1 + 1e-9):
            return None
        return float(np.interp(math.log(seen), np.log(self.seen), self.loss))

    def first(self, loss: float) -> float | None:
        """The samples after which the curve is first at or below a loss; None where it is not."""
        below = np.flatnonzero(self.loss <= loss)
        if not len(below) or below[0] == 0:
            return None
        i = int(below[0])
        share = (self.loss[i - 1] - loss) / (self.loss[i - 1] - self.loss[i])
        low, high = math.log(self.seen[i - 1]), math.log(self.seen[i])
        return math.exp(low + share * (high - low))


def effective_reuse(
    losses: Sequence[Loss], passes: Sequence[float] = (), smooth: int = 1
) -> ReuseTable:
    """Return E(K, N) of each network, N and K.

    Args:
        losses: Of one pass and of several; see `passes.read_losses`.
        passes: The K to tell, between the points of a curve on a line in log(samples); by default
            those of the rows, or 2, 4, 8, … where they are many.
        smooth: Points of a curve that are averaged, 1 or more; 1 leaves it as it is.

    Raises:
        UsageError: If there is no curve of one pass, or nothing was seen twice.
    """
    if smooth < 1:
        raise UsageError(f"--smooth must be 1 or more points, not {smooth}")
    if wrong := [each for each in passes if not 1 < each < math.inf]:
        raise UsageError(f"--passes must be more than 1 each, not {wrong[0]:g}")
    again = [row for row in losses if row.passes > 1]
    once = [row for row in losses if row.passes <= 1]
    if not again:
        raise UsageError("no row has seen its samples more than once: seen is nowhere above unique")
    if len(once) < 2:
        raise UsageError(
            f"of one pass there are too few rows, {len(once)}, and 2 are needed at least: rows "
            "whose unique is not below seen, from a training on fresh samples"
        )
    found: list[Reuse] = []
    for parameters in sorted({row.parameters for row in again}):
        fresh = _curves([row for row in once if row.parameters == parameters], smooth)
        here = [row for row in again if row.parameters == parameters]
        for unique in sorted({row.unique for row in here}):
            curves = _curves([row for row in here if row.unique == unique], smooth)
            every = passes or _passes(curves, unique)
            told = (_reuse(parameters, unique, k, curves, fresh) for k in every)
            found += [each for each in told if each is not None]
    if not found:
        raise UsageError(f"no curve of several passes goes as far as K = {min(passes):g}")
    return ReuseTable(found, smooth)


def _curves(rows: Sequence[Loss], smooth: int) -> dict[int, _Curve]:
    seeds = sorted({row.seed for row in rows})
    return {seed: _Curve.of([row for row in rows if row.seed == seed], smooth) for seed in seeds}


def _passes(curves: dict[int, _Curve], unique: float) -> list[float]:
    every = sorted({float(seen / unique) for curve in curves.values() for seen in curve.seen})
    if len(every) <= MOST:
        return every
    doubled = [2.0**i for i in range(1, 64) if every[0] <= 2**i < every[-1]]
    return [*doubled, every[-1]]


def _reuse(
    parameters: float,
    unique: float,
    k: float,
    curves: dict[int, _Curve],
    fresh: dict[int, _Curve],
) -> Reuse | None:
    """E at one K and N; None where no curve of several passes goes so far."""
    known = {seed: curve.at(k * unique) for seed, curve in curves.items()}
    losses = {seed: loss for seed, loss in known.items() if loss is not None}
    if not losses:
        return None
    loss = math.fsum(losses.values()) / len(losses)
    nothing = Estimate(value=None, low=None, high=None, n=len(losses))
    if not fresh:
        return Reuse(parameters, unique, k, loss, nothing)
    every = list(fresh.values())
    # Seeds that both sides have belong together; others are taken in turn.
    pairs = [(s, fresh.get(s, every[i % len(every)])) for i, s in enumerate(losses)]
    crossed = [curve.first(losses[seed]) for seed, curve in pairs]
    found = [at / unique for at in crossed if at is not None]
    if len(found) < len(crossed):
        ends = [float(c.seen[-1]) for seed, c in pairs if c.loss.min() > losses[seed]]
        begins = [float(c.seen[0]) for seed, c in pairs if c.loss[0] <= losses[seed]]
        above = min(ends) / unique if ends else None
        below = max(begins) / unique if begins else None
        return Reuse(parameters, unique, k, loss, nothing, above, below)
    if len(found) > 1:
        return Reuse(parameters, unique, k, loss, _over_seeds(found))
    ((_, one),) = pairs
    low, high = _by_scatter(one, loss, unique)
    return Reuse(parameters, unique, k, loss, Estimate(value=found[0], low=low, high=high, n=1))


def _over_seeds(found: Sequence[float]) -> Estimate:
    """The geometric mean over seeds, with Student's interval of its logarithm."""
    from scipy.special import stdtrit

    logs, n = np.log(found), len(found)
    middle, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(n)
    far = float(stdtrit(n - 1, 0.975)) * error
    return Estimate(
        value=math.exp(middle), low=math.exp(middle - far), high=math.exp(middle + far), n=n
    )


def _by_scatter(one: _Curve, loss: float, unique: float) -> tuple[float | None, float | None]:
    """Where one pass crosses the loss and its scatter more, and less; None past its ends."""
    if one.scatter is None:
        return None, None
    far = Z95 * math.sqrt(2) * one.scatter
    low, high = one.first(loss + far), one.first(loss - far)
    return (
        None if low is None else low / unique,
        None if high is None else high / unique,
    )


def _scatter(x: Array, y: Array) -> float | None:
    """The standard deviation of points about a smooth line, from each and its two neighbours."""
    if len(x) < FEWEST:
        return None
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    apart = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
    return float(np.sqrt(np.mean(apart**2 / (1 + share**2 + (1 - share) ** 2))))


def in_words(each: Reuse) -> str:
    """Return E at one K and N in words; where it is not defined, why."""
    size = f"{each.parameters:.3g} parameters, " if each.parameters else ""
    where = f"{size}N = {each.unique:.4g}, K = {each.passes:.4g}, loss {each.loss:.4f}: "
    if each.factor.value is not None:
        return f"{where}E = {each.factor}"
    if each.above is not None:
        return f"{where}E undefined, above {each.above:.3g}: {ENDS}"
    if each.below is not None:
        return f"{where}E undefined, below {each.below:.3g}: {BEGINS}"
    return f"{where}E undefined: {NO_CURVE}"
