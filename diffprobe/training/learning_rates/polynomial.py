"""Polynomial decay."""

from dataclasses import dataclass
from typing import Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.training.learning_rates import OfDiffusers


@dataclass(frozen=True)
class PolynomialConfig(OfDiffusers):
    """Linear warm-up, then (1 - r)^power over the rest of the steps, r from 0 to 1."""

    name: ClassVar[str] = "polynomial"
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.power < float("inf"):
            raise UsageError(f"power must be positive, not {self.power}")

    def options(self) -> dict[str, Any]:
        """Return the power; the end, 1e-7 of diffusers', is measured against a peak of 1."""
        return {"power": self.power}
