"""diffusers' U-Net with the noise level of every pixel as one more channel of its input."""

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.models.modules.levels import timesteps_of

# Timesteps from 0 to this are shown as -1 to 1.
LARGEST_TIMESTEP = 1000


class LevelMapUNet(ModelMixin, ConfigMixin):
    """A `UNet2DModel` that sees the noise level of each cell.

    The mean level of the cells goes in as its timestep, and the level of each as a map.

    Args:
        image_shape: C, H, W.
        grid: Rows and columns of cells; must divide H and W.
        settings: Arguments of `UNet2DModel` but for the channels.

    Raises:
        UsageError: If the grid does not divide the image.
    """

    @register_to_config
    def __init__(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int], settings: dict[str, object]
    ) -> None:
        super().__init__()
        channels = image_shape[0]
        self.grid = grid
        self.cells = CellGrid.of(image_shape, grid)
        self.unet = UNet2DModel(in_channels=channels + 1, out_channels=channels, **settings)

    def forward(
        self, sample: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Map `sample (B, C, H, W)` and `timestep`, (B,) or (B, cells), to `.sample`."""
        levels = timesteps_of(timestep, len(sample), self.grid).to(sample)
        shown = self.cells.spread(2 * levels / LARGEST_TIMESTEP - 1)
        result: Transformer2DModelOutput | tuple[Tensor] = self.unet(
            torch.cat([sample, shown], 1), levels.mean(1), return_dict=return_dict
        )
        return result
