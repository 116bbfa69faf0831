"""The networks that a configuration can name, one a file: settings, and what they build."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from diffprobe.datasets.condition import Conditions


class NetworkKind(Kind, ABC):
    """Settings of a network.

    Attributes:
        conditional: Whether it can be told a condition.
        levels_by_cell: Whether it is told a noise level for each cell instead of one for the image.
        quicker_together: From how many seeds on training them at once beats one after another on a
            CPU (`benchmarks/replicas.py`); None where it does not.
    """

    role: ClassVar[str] = "network"
    conditional: ClassVar[bool] = False
    quicker_together: ClassVar[int | None] = None
    levels_by_cell: bool = False

    def build(
        self,
        image_shape: tuple[int, int, int],
        seed: int = 0,
        grid: tuple[int, int] | None = None,
        conditions: "Conditions | None" = None,
    ) -> "ModelMixin":
        """Return a freshly initialised network.

        Args:
            image_shape: C, H, W.
            seed: Of the weights.
            grid: Rows and columns of cells; only needed with `levels_by_cell`.
            conditions: What it can be told, if anything.

        Raises:
            UsageError: If the architecture does not fit the images, a grid is needed, or it takes
                no condition.
        """
        import torch

        if self.levels_by_cell and grid is None:
            raise UsageError("network.levels_by_cell needs images made of a grid of cells")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            cells = grid if self.levels_by_cell else None
            if conditions is None:
                return self.network(image_shape, cells)
            return self.told_network(image_shape, cells, (conditions.tokens, conditions.symbols))

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

    def told_network(
        self,
        image_shape: tuple[int, int, int],
        grid: tuple[int, int] | None,
        condition: tuple[int, int],
    ) -> "ModelMixin":
        """Return a network that takes `encoder_hidden_states`; by default there is none.

        Args:
            image_shape, grid: As for `network`.
            condition: Tokens of a condition, and how many symbols a token may be.

        Raises:
            UsageError: If networks of this kind take no condition.
        """
        raise UsageError(f"network {self.name!r} takes no condition")

    @classmethod
    @abstractmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the classes of the networks, by whose names a checkpoint is loaded again."""


def parameter_count(network: "ModelMixin") -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
