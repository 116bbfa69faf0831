"""The averages that a configuration can name, one a file: a second set of weights.

A configuration may hold several, each under a name of its own, by which checkpoints store it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from torch import nn

    from diffprobe.training.average import Average


class AverageKind(Kind, ABC):
    """Settings of an average of weights."""

    role: ClassVar[str] = "average"

    @abstractmethod
    def build(self, parameters: "Iterable[nn.Parameter]") -> "Average":
        """Return the average, begun with the weights as they are."""
