"""The networks that a configuration can name, one a file: settings, and what they build."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffusers import ModelMixin


class NetworkKind(Kind, ABC):
    """Settings of a network.

    Attributes:
        levels_by_cell: Whether it is told a noise level for each cell instead of one for the image.
        quicker_together: From how many seeds on training them at once beats one after another on a
            CPU (`benchmarks/replicas.py`); None where it does not.
    """

    role: ClassVar[str] = "network"
    quicker_together: ClassVar[int | None] = None
    levels_by_cell: bool = False

    def build(
        self, image_shape: tuple[int, int, int], seed: int = 0, grid: tuple[int, int] | None = None
    ) -> "ModelMixin":
        """Return a freshly initialised network.

        Args:
            image_shape: C, H, W.
            seed: Of the weights.
            grid: Rows and columns of cells; only needed with `levels_by_cell`.

        Raises:
            UsageError: If the architecture does not fit the images, or a grid is needed.
        """
        import torch

        if self.levels_by_cell and grid is None:
            raise UsageError("network.levels_by_cell needs images made of a grid of cells")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network(image_shape, grid if self.levels_by_cell else None)

    def check(self, height: int, width: int) -> None:
        """Check that the architecture fits images of `height` × `width` pixels; by default it does.

        Raises:
            UsageError: If it does not.
        """

    @abstractmethod
    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return a network.

        Args:
            image_shape: C, H, W.
            grid: Rows and columns of the cells that have noise levels of their own, if any.
        """

    @classmethod
    @abstractmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the classes of the networks, by whose names a checkpoint is loaded again."""


def parameter_count(network: "ModelMixin") -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
