"""The plain mean of all weights from a step on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from diffprobe.training.average import ExponentialAverage
from diffprobe.training.averages import AverageKind


class TailAverage(ExponentialAverage):
    """Starts again until its first step, and then has the memory of a plain mean."""

    def __init__(self, parameters: Iterable[nn.Parameter], first: int) -> None:
        super().__init__(parameters, decay=1.0, power=1.0)
        self.first = first

    def update(self, step: int, weights: Iterable[nn.Parameter]) -> None:
        """Take the weights after `step` steps into account."""
        weights = list(weights)
        if step <= self.first:
            self.restart(weights)
        super().update(step, weights)


@dataclass(frozen=True)
class TailConfig(AverageKind):
    """The mean of all weights from step `first` on."""

    name: ClassVar[str] = "tail"
    first: int = 100

    def build(self, parameters: Iterable[nn.Parameter]) -> TailAverage:
        """Return the average."""
        return TailAverage(parameters, self.first)
