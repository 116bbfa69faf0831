"""A transformer over patches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.models.networks import NetworkKind

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class TransformerConfig(NetworkKind):
    """adaLN-zero transformer over patches of `patch` pixels (height, width)."""

    name: ClassVar[str] = "transformer"
    patch: tuple[int, int] = (8, 8)
    width: int = 128
    depth: int = 4
    heads: int = 4
    levels_by_cell: bool = False

    def __post_init__(self) -> None:
        check_positive(
            patch_height=self.patch[0],
            patch_width=self.patch[1],
            width=self.width,
            depth=self.depth,
            heads=self.heads,
        )
        if self.width % self.heads:
            raise UsageError(f"{self.heads} heads do not divide a width of {self.width}")

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        (model,) = self.models()
        return model(image_shape, self.patch, self.width, self.depth, self.heads, grid)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the class."""
        from diffprobe.models.modules.transformer import StripTransformer

        return (StripTransformer,)
