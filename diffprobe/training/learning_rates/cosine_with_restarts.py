"""Cosine decay, again and again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.training.learning_rates import Warmed, of_diffusers

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CosineWithRestartsConfig(Warmed):
    """Linear warm-up, then `cycles` halves of a cosine, each from the peak to zero."""

    name: ClassVar[str] = "cosine_with_restarts"
    peak: float = 1e-3
    warmup_steps: int = 50
    cycles: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(cycles=self.cycles)

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        return of_diffusers(self.name, self.peak, self.warmup_steps, steps, num_cycles=self.cycles)
