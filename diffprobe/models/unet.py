"""diffusers' UNet2DModel for symbol images."""

from diffusers import UNet2DModel

from diffprobe.config import UNetConfig
from diffprobe.foundations.errors import UsageError


def build_unet(config: UNetConfig, image_shape: tuple[int, int, int]) -> UNet2DModel:
    """Return a U-Net for images of `image_shape` (C, H, W).

    Raises:
        UsageError: If the image cannot be halved as often as the levels ask, or the settings do
            not fit each other.
    """
    channels, height, width = image_shape
    levels = len(config.channels)
    factor = 2 ** max(levels - 1, 0)
    if levels == 0:
        raise UsageError("model.channels is empty; a U-Net needs at least one level")
    if height % factor or width % factor:
        raise UsageError(
            f"a U-Net of {levels} levels halves the image {levels - 1} times: "
            f"height and width must be divisible by {factor}, and the image is {height}×{width}; "
            "take fewer levels in model.channels, another cell or another grid"
        )
    if len(config.attention) != levels:
        raise UsageError(
            f"model.attention has {len(config.attention)} entries and model.channels {levels}; "
            "give one for each level"
        )
    if bad := [c for c in config.channels if c % config.norm_groups]:
        raise UsageError(
            f"model.norm_groups={config.norm_groups} does not divide {bad[0]} channels"
        )
    down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in config.attention]
    up = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)]
    return UNet2DModel(
        sample_size=(height, width),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        norm_num_groups=config.norm_groups,
        attention_head_dim=min(config.channels),
    )
