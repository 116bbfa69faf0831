"""One learning rate throughout."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.training.learning_rates import LearningRateKind, check_rate

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ConstantConfig(LearningRateKind):
    """The same learning rate at every step."""

    name: ClassVar[str] = "constant"
    peak: float = 1e-3

    def __post_init__(self) -> None:
        check_rate(peak=self.peak)

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        import numpy as np

        return np.full(steps, self.peak)
