"""Polynomial decay."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.training.learning_rates import Warmed, of_diffusers

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PolynomialConfig(Warmed):
    """Linear warm-up, then (1 - r)^power over the rest of the steps, r from 0 to 1."""

    name: ClassVar[str] = "polynomial"
    peak: float = 1e-3
    warmup_steps: int = 50
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.power < float("inf"):
            raise UsageError(f"power must be positive, not {self.power}")

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        # diffusers' own end of 1e-7 is measured against an optimizer's rate, here 1.
        return of_diffusers(self.name, self.peak, self.warmup_steps, steps, power=self.power)
