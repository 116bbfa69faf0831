"""One learning rate after a warm-up."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.training.learning_rates import OfDiffusers


@dataclass(frozen=True)
class ConstantWithWarmupConfig(OfDiffusers):
    """The same learning rate at every step after a linear warm-up."""

    name: ClassVar[str] = "constant_with_warmup"
