"""A denoiser whose output in a patch depends on the patches within a radius, and on no other."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from einops import rearrange
from torch import Tensor, nn

from diffprobe.models.modules.levels import embed, timesteps_of
from diffprobe.models.modules.mlp import ResidualBlock
from diffprobe.models.networks.transformer import check_patch


class LocalConvolution(ModelMixin, ConfigMixin):
    """One convolution over patches, learned positions, and residual blocks on each patch alone.

    The noisy image is added, times a number that depends on the noise level.

    The receptive field of a patch is the square of patches within `radius` of it, along rows or
    columns, whichever is more: beyond it the Jacobian is exactly zero. A patch knows where it is,
    so that with patches of a cell the best such network is `LocalDenoiser` of the same radius.

    Args:
        image_shape: C, H, W.
        patch: Height and width of a patch in pixels; must divide H and W.
        radius: In patches, at least 0, which is the patch alone.
        width: Numbers that stand for a patch.
        depth: Number of blocks.

    Raises:
        UsageError: If the patch does not divide the image.
    """

    @register_to_config
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patch: tuple[int, int] = (8, 8),
        radius: int = 1,
        width: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        channels, height, image_width = image_shape
        check_patch(patch, height, image_width)
        self.patch = (patch[0], patch[1])
        self.width = width
        rows, columns = height // patch[0], image_width // patch[1]
        # Beyond the other side of the image there is nothing to see.
        up, aside = min(radius, rows - 1), min(radius, columns - 1)
        self.input = nn.Conv2d(
            channels,
            width,
            kernel_size=((2 * up + 1) * patch[0], (2 * aside + 1) * patch[1]),
            stride=self.patch,
            padding=(up * patch[0], aside * patch[1]),
        )
        self.positions = nn.Parameter(torch.randn(1, width, rows, columns) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, channels * patch[0] * patch[1])
        self.skip = nn.Linear(width, 1)

    def forward(
        self, sample: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Map `sample (B, C, H, W)` and `timestep (B,)` to `.sample (B, C, H, W)`."""
        embedding = embed(timesteps_of(timestep, len(sample), None), self.width)
        time = self.time(embedding.to(sample))[:, None, None]  # the same for all patches
        x = rearrange(self.input(sample) + self.positions, "b d r k -> b r k d")
        for block in self.blocks:
            x = block(x, time)
        h, w = self.patch
        x = rearrange(self.output(self.norm(x)), "b r k (c h w) -> b c (r h) (k w)", h=h, w=w)
        # Most of what is to be predicted is noise, and most noise the input as it is.
        result = torch.addcmul(x, self.skip(time), sample)
        return Transformer2DModelOutput(sample=result) if return_dict else (result,)
