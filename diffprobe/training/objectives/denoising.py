"""Regression on the noise, the image or the velocity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.training.objectives import ObjectiveKind

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.training.objective import Objective


@dataclass(frozen=True)
class DenoisingConfig(ObjectiveKind):
    """Mean squared error of what the network predicts, noise levels drawn evenly over t."""

    name: ClassVar[str] = "denoising"

    def build(self, scheduler: Any, dataset: "SymbolImages") -> "Objective":
        """Return the objective; see `ObjectiveKind.build`."""
        from diffprobe.training.objective import Objective

        return Objective(scheduler)
