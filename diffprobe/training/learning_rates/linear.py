"""Linear decay."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.training.learning_rates import OfDiffusers


@dataclass(frozen=True)
class LinearConfig(OfDiffusers):
    """Linear warm-up, then a linear decay to zero at the last step."""

    name: ClassVar[str] = "linear"
