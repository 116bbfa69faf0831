"""The exponential moving average."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.training.averages import AverageKind

if TYPE_CHECKING:
    from torch import nn

    from diffprobe.training.average import ExponentialAverage


@dataclass(frozen=True)
class EMAConfig(AverageKind):
    """Exponential moving average: diffusers' EMAModel.

    With memory m_s = min(decay, 1 - s^-power) the average after step s is m_s times what it was
    and 1 - m_s times the weights; a `power` of 0 has the full memory from the second step on.
    """

    name: ClassVar[str] = "ema"
    decay: float = 0.999
    power: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise UsageError(f"decay must lie in [0, 1), not {self.decay}")
        if not 0 <= self.power < float("inf"):
            raise UsageError(f"power must not be negative, but {self.power}")

    def build(self, parameters: "Iterable[nn.Parameter]") -> "ExponentialAverage":
        """Return the average; see `AverageKind.build`."""
        from diffprobe.training.average import ExponentialAverage

        return ExponentialAverage(parameters, self.decay, self.power)
