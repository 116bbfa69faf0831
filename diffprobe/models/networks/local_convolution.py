"""A network that is local by construction: what the probes must find is known."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.models.networks import NetworkKind
from diffprobe.models.networks.transformer import check_patch

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class LocalConvolutionConfig(NetworkKind):
    """One convolution that sees `radius` patches to each side, then an MLP on each patch alone."""

    name: ClassVar[str] = "local-convolution"
    patch: tuple[int, int] = (8, 8)
    radius: int = 1
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        check_positive(
            patch_height=self.patch[0],
            patch_width=self.patch[1],
            width=self.width,
            depth=self.depth,
        )
        if self.radius < 0:
            raise UsageError(f"network.radius must not be negative, but it is {self.radius}")

    def check(self, height: int, width: int) -> None:
        """Raise UsageError unless patches tile the image."""
        check_patch(self.patch, height, width)

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        (model,) = self.models()
        return model(image_shape, self.patch, self.radius, self.width, self.depth)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the class."""
        from diffprobe.models.modules.local_convolution import LocalConvolution

        return (LocalConvolution,)
