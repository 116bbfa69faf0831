"""The mean of the last checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.training.averages import AverageKind

if TYPE_CHECKING:
    from torch import nn

    from diffprobe.training.average import LastAverage


@dataclass(frozen=True)
class LastConfig(AverageKind):
    """Mean of the weights at the last `n` multiples of `every` steps; costs `n` sets of weights.

    Reference:
        Kaddour, "Stop wasting my time! Saving days of ImageNet and BERT training with latest
        weight averaging", arXiv:2209.14981.
    """

    name: ClassVar[str] = "last"
    n: int = 6
    every: int = 100

    def __post_init__(self) -> None:
        check_positive(n=self.n, every=self.every)

    def build(self, parameters: "Iterable[nn.Parameter]") -> "LastAverage":
        """Return the average; see `AverageKind.build`."""
        from diffprobe.training.average import LastAverage

        return LastAverage(parameters, self.n, self.every)
