"""Cosine decay, again and again."""

from dataclasses import dataclass
from typing import Any, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.training.learning_rates import OfDiffusers


@dataclass(frozen=True)
class CosineWithRestartsConfig(OfDiffusers):
    """Linear warm-up, then `cycles` halves of a cosine, each from the peak to zero."""

    name: ClassVar[str] = "cosine_with_restarts"
    cycles: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(cycles=self.cycles)

    def options(self) -> dict[str, Any]:
        """Return the number of cycles."""
        return {"num_cycles": self.cycles}
