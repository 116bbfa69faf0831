"""The two-layer network of the theory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.settings import check_positive
from diffprobe.models.networks import NetworkKind

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class MLPConfig(NetworkKind):
    """The two-layer ReLU network of the paper."""

    name: ClassVar[str] = "mlp"
    width: int = 1024
    time_width: int = 64
    levels_by_cell: bool = False

    def __post_init__(self) -> None:
        check_positive(width=self.width, time_width=self.time_width)

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        (model,) = self.models()
        return model(image_shape, self.width, self.time_width, grid)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the class."""
        from diffprobe.models.modules.mlp import MLP

        return (MLP,)
