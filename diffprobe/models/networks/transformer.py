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
    conditional: ClassVar[bool] = True
    quicker_together: ClassVar[int | None] = 4
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
        check_heads(self.heads, self.width)

    def check(self, height: int, width: int) -> None:
        """Raise UsageError unless patches tile the image."""
        check_patch(self.patch, height, width)

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        (model,) = self.models()
        return model(image_shape, self.patch, self.width, self.depth, self.heads, grid)

    def told_network(
        self,
        image_shape: tuple[int, int, int],
        grid: tuple[int, int] | None,
        condition: tuple[int, int],
    ) -> "ModelMixin":
        """Return one whose blocks attend to a condition; see `NetworkKind.told_network`."""
        (model,) = self.models()
        return model(image_shape, self.patch, self.width, self.depth, self.heads, grid, condition)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the class."""
        from diffprobe.models.modules.transformer import StripTransformer

        return (StripTransformer,)


def check_patch(patch: tuple[int, int], height: int, width: int) -> None:
    """Raise UsageError unless patches of (height, width) pixels tile an image."""
    if min(patch) < 1 or height % patch[0] or width % patch[1]:
        raise UsageError(
            f"a patch of {patch[0]}×{patch[1]} pixels does not divide an image of {height}×{width}"
        )


def check_heads(heads: int, width: int) -> None:
    """Raise UsageError unless a token of `width` numbers is parted evenly among the heads."""
    if heads < 1 or width % heads:
        raise UsageError(f"{heads} heads do not divide a width of {width}")
