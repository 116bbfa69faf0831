"""A mean of checkpoints by given weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.training.averages import AverageKind

if TYPE_CHECKING:
    from torch import nn

    from diffprobe.training.average import WeightedAverage


@dataclass(frozen=True)
class WeightedConfig(AverageKind):
    """Mean of the weights after `steps`, each in proportion to its entry in `weights`.

    Weights may be negative; what counts so far is divided by its sum.
    """

    name: ClassVar[str] = "weighted"
    steps: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps or len(self.steps) != len(self.weights):
            raise UsageError(
                f"a weighted average needs as many weights as steps, at least one; there are "
                f"{len(self.steps)} steps and {len(self.weights)} weights"
            )
        check_positive(**{f"steps[{i}]": step for i, step in enumerate(self.steps)})
        if list(self.steps) != sorted(set(self.steps)):
            raise UsageError(f"steps must rise, not {list(self.steps)}")
        sums = [sum(self.weights[: k + 1]) for k in range(len(self.weights))]
        if not all(math.isfinite(total) and total > 0 for total in sums):
            raise UsageError(f"weights must have positive sums from the first on: {self.weights}")

    def build(self, parameters: "Iterable[nn.Parameter]") -> "WeightedAverage":
        """Return the average; see `AverageKind.build`."""
        from diffprobe.training.average import WeightedAverage

        return WeightedAverage(parameters, dict(zip(self.steps, self.weights, strict=True)))
