"""Warm-up, stable, decay."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.training.learning_rates import Warmed, share_of, warm_up

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class WSDConfig(Warmed):
    """Linear warm-up, `peak` throughout, and at the end a decay to `final` times the peak.

    The last `decay` of the steps go down: with r from 0 to 1 over them, as 1 - r (linear),
    1 - sqrt(r) (sqrt), (1 + cos(pi r)) / 2 (cosine), or final^r (exponential).

    Reference:
        Hu et al., "MiniCPM", arXiv:2404.06395; the square root: Hägele et al., arXiv:2405.18392.
    """

    name: ClassVar[str] = "wsd"
    decay: float = 0.2
    final: float = 0.0
    shape: Literal["linear", "sqrt", "cosine", "exponential"] = "sqrt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay must lie in (0, 1], a share of the steps, not {self.decay}")
        if not 0 <= self.final <= 1:
            raise UsageError(f"final must lie in [0, 1], a share of the peak, not {self.final}")
        if self.shape == "exponential" and self.final == 0:
            raise UsageError("an exponential decay needs a final rate above 0")

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        import numpy as np

        rates = warm_up(self.peak, self.warmup_steps, steps)
        last = share_of(steps, self.decay)
        r = np.arange(1, last + 1) / last
        if self.shape == "exponential":
            factor = self.final**r
        else:
            left = {
                "linear": 1 - r,
                "sqrt": 1 - np.sqrt(r),
                "cosine": (1 + np.cos(np.pi * r)) / 2,
            }[self.shape]
            factor = self.final + (1 - self.final) * left
        rates[steps - last :] *= factor
        return rates
