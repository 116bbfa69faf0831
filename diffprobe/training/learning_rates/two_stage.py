"""Two learning rates, one after the other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.training.learning_rates import Warmed, check_rate, warm_up

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TwoStageConfig(Warmed):
    """Linear warm-up, `peak` up to step `at`, and `second` from then on."""

    name: ClassVar[str] = "two-stage"
    second: float = 1e-4
    at: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(second=self.second)
        check_positive(at=self.at)

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        rates = warm_up(self.peak, self.warmup_steps, steps)
        rates[self.at :] = self.second
        return rates
