"""Cosine decay."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.training.learning_rates import OfDiffusers


@dataclass(frozen=True)
class CosineConfig(OfDiffusers):
    """Linear warm-up, then half a cosine down to zero at the last step."""

    name: ClassVar[str] = "cosine"
