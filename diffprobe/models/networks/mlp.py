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

    def __post_init__(self) -> None:
        check_positive(width=self.width, time_width=self.time_width)

    def network(self, image_shape: tuple[int, int, int]) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        return self.model()(image_shape, self.width, self.time_width)

    @classmethod
    def model(cls) -> "type[ModelMixin]":
        """Return the class."""
        from diffprobe.models.modules.mlp import MLP

        model: type[ModelMixin] = MLP
        return model
