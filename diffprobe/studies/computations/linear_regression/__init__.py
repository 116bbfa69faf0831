"""The linear regression of the theory of reuse: how much fresh data many passes are worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.settings import check_at_least, check_positive
from diffprobe.studies.computations import Computation, Computed

# Beyond it the sum over how often each coordinate is seen takes minutes.
MOST_NOISY = 256


@dataclass(frozen=True)
class LinearRegression(Computation):
    """SGD over `samples` of one coordinate each, `epochs` times, against one pass over more.

    Coordinate i of `dimension` is shown in proportion to i^-`popularity`, with i^-`scale` as its
    square: both 0 are a strongly convex problem, both positive are Zipf's law. Labels have noise of
    variance `noise`. A seed draws the target; all else is exact. `reuse` is E(K, N), the factor by
    which the samples of one pass must be more to reach the same excess risk, each side at its best
    constant learning rate; `per_epoch` is E / K; `decade` is what E gains with ten times the
    samples, and `power` the log10 of the factor by which it grows; `risk` and `rate` are those of
    the many passes.

    Reference:
        "Larger datasets can be repeated more: a theoretical analysis of multi-epoch scaling in
        linear regression", arXiv:2511.13421.
    """

    name: ClassVar[str] = "linear-regression"
    measures: ClassVar[tuple[str, ...]] = (
        "reuse",
        "per_epoch",
        "decade",
        "power",
        "risk",
        "rate",
    )
    dimension: int = 16
    popularity: float = 0.0
    scale: float = 0.0
    noise: float = 1.0
    samples: int = 1000
    epochs: int = 4

    def __post_init__(self) -> None:
        check_positive(dimension=self.dimension, samples=self.samples, epochs=self.epochs)
        check_at_least(
            0.0, "computation", popularity=self.popularity, scale=self.scale, noise=self.noise
        )
        if self.noise and self.dimension > MOST_NOISY:
            raise UsageError(
                f"with noise the dimension must be at most {MOST_NOISY}, not {self.dimension:,}; "
                "without (noise = 0) it may be larger"
            )

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed; see `Computation.compute`."""
        from diffprobe.studies.computations.linear_regression.recursion import OneHot

        found: list[Computed] = []
        for seed in progress(seeds, desc="targets", unit="target"):
            world = OneHot.drawn(self.dimension, self.popularity, self.scale, self.noise, seed)
            reuse = world.reuse(self.samples, self.epochs)
            larger = world.reuse(10 * self.samples, self.epochs)
            risk, rate = world.best(self.samples, self.epochs)
            found.append(
                {
                    "reuse": reuse,
                    "per_epoch": reuse / self.epochs,
                    "decade": larger - reuse,
                    "power": math.log10(larger / reuse),
                    "risk": risk,
                    "rate": rate,
                }
            )
        return found
