"""The objectives that a configuration can name, one a file: what a step of training minimises."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.training.objective import Objective


class ObjectiveKind(Kind, ABC):
    """Settings of an objective."""

    role: ClassVar[str] = "objective"

    @abstractmethod
    def build(self, scheduler: Any, dataset: "SymbolImages") -> "Objective":
        """Return the objective.

        Args:
            scheduler: A diffusers scheduler: the noise levels, and what the network predicts.
            dataset: The world.

        Raises:
            UsageError: If they do not fit each other.
        """
