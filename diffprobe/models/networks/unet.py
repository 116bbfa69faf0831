"""diffusers' U-Net."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.models.networks import NetworkKind

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class UNetConfig(NetworkKind):
    """diffusers' UNet2DModel; `attention` tells for each level whether it attends.

    With `levels_by_cell` the noise level of every pixel is one more channel of its input.
    """

    name: ClassVar[str] = "unet"
    channels: tuple[int, ...] = (32, 64, 64)
    layers_per_block: int = 2
    attention: tuple[bool, ...] = (False, False, True)
    norm_groups: int = 8
    levels_by_cell: bool = False

    def __post_init__(self) -> None:
        check_positive(layers_per_block=self.layers_per_block, norm_groups=self.norm_groups)
        levels = len(self.channels)
        if levels == 0:
            raise UsageError("network.channels is empty; a U-Net needs at least one level")
        check_positive(**{f"channels[{i}]": c for i, c in enumerate(self.channels)})
        if len(self.attention) != levels:
            raise UsageError(
                f"network.attention has {len(self.attention)} entries and network.channels "
                f"{levels}; give one for each level"
            )
        if bad := [c for c in self.channels if c % self.norm_groups]:
            raise UsageError(
                f"network.norm_groups={self.norm_groups} does not divide {bad[0]} channels"
            )

    def check(self, height: int, width: int) -> None:
        """Raise UsageError if the image cannot be halved as often as the levels ask."""
        levels = len(self.channels)
        factor = 2 ** (levels - 1)
        if height % factor or width % factor:
            raise UsageError(
                f"a U-Net of {levels} levels halves the image {levels - 1} times: height and "
                f"width must be divisible by {factor}, and the image is {height}×{width}; "
                "take fewer levels in network.channels, another cell or another grid"
            )

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> "ModelMixin":
        """Return the network; see `NetworkKind.network`."""
        channels, height, width = image_shape
        self.check(height, width)
        down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in self.attention]
        up = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(self.attention)]
        settings = {
            "sample_size": (height, width),
            "block_out_channels": self.channels,
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "norm_num_groups": self.norm_groups,
            "attention_head_dim": min(self.channels),
        }
        plain, with_levels = self.models()
        if grid is not None:
            return with_levels(image_shape, grid, settings)
        return plain(in_channels=channels, out_channels=channels, **settings)

    @classmethod
    def models(cls) -> "tuple[type[ModelMixin], ...]":
        """Return the classes, the second for noise levels by cell."""
        from diffusers import UNet2DModel

        from diffprobe.models.modules.unet import LevelMapUNet

        return UNet2DModel, LevelMapUNet
