"""A deeper fully connected network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.models.networks import NetworkKind

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class ResidualMLPConfig(NetworkKind):
    """A deeper MLP of residual blocks conditioned on time."""

    name: ClassVar[str] = "residual-mlp"
    quicker_together: ClassVar[int | None] = 4
    width: int = 256
    depth: int = 4
    levels_by_cell: bool = False

    def __post_init__(self) -> None:
        check_positive(width=self.width, depth=self.depth)

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        (model,) = self.models()
        return model(image_shape, self.width, self.depth, grid)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the class."""
        from diffprobe.models.modules.mlp import ResidualMLP

        return (ResidualMLP,)
