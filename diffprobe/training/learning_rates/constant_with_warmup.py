"""One learning rate after a warm-up."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.training.learning_rates import Warmed, of_diffusers

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ConstantWithWarmupConfig(Warmed):
    """The same learning rate at every step after a linear warm-up."""

    name: ClassVar[str] = "constant_with_warmup"
    peak: float = 1e-3
    warmup_steps: int = 50

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        return of_diffusers(self.name, self.peak, self.warmup_steps, steps)
