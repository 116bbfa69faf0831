"""Regression with noise that an image keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.training.objectives import ObjectiveKind

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.training.objective import Objective


@dataclass(frozen=True)
class FrozenConfig(ObjectiveKind):
    """As `denoising`, but an image has one noise level and noise, the same each time it is seen.

    A control for what is reused: with `denoising` each repeat of an image is noised afresh. The
    level is uniform in t. `seed` says which noise.
    """

    name: ClassVar[str] = "frozen"
    seed: int = 0

    def build(self, scheduler: Any, dataset: "SymbolImages") -> "Objective":
        """Return the objective; see `ObjectiveKind.build`."""
        from diffprobe.training.objective import FrozenObjective

        return FrozenObjective(scheduler, seed=self.seed)
