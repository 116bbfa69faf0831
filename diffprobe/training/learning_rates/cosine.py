"""Cosine decay."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.training.learning_rates import Warmed, of_diffusers

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CosineConfig(Warmed):
    """Linear warm-up, then half a cosine down to zero at the last step."""

    name: ClassVar[str] = "cosine"
    peak: float = 1e-3
    warmup_steps: int = 50

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        return of_diffusers(self.name, self.peak, self.warmup_steps, steps)
