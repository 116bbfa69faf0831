"""Fully connected denoisers: the paper's two-layer network, and a deeper residual one."""

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from diffprobe.models.modules.levels import cells_of, embed, timesteps_of


class MLP(ModelMixin, ConfigMixin):
    """Two layers with ReLU: `W2 relu(W1 [x; time] + b1) + b2`.

    Args:
        image_shape: C, H, W.
        width: Hidden neurons.
        time_width: Size of the sinusoidal embedding of t.
        grid: Rows and columns of cells, where each has a noise level of its own to be told.

    Reference:
        Lu et al., arXiv:2503.03595, section 4 (the network of the theory).
    """

    @register_to_config
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 1024,
        time_width: int = 64,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.time_width = time_width
        self.grid = grid
        self.hidden = nn.Linear(pixels + time_width * cells_of(grid), width)
        self.output = nn.Linear(width, pixels)

    def forward(
        self, sample: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Map `sample (B, C, H, W)` and `timestep`, (B,) or (B, cells), to `.sample`."""
        time = embed(timesteps_of(timestep, len(sample), self.grid), self.time_width).flatten(1)
        x = torch.cat([sample.flatten(1), time.to(sample)], dim=1)
        result = self.output(torch.relu(self.hidden(x))).reshape(sample.shape)
        return Transformer2DModelOutput(sample=result) if return_dict else (result,)


class ResidualMLP(ModelMixin, ConfigMixin):
    """Residual blocks `h + W2 silu(W1 norm(h) * (1 + scale(t)) + shift(t))`.

    Args:
        image_shape: C, H, W.
        width: Size of the hidden state.
        depth: Number of blocks.
        grid: Rows and columns of cells, where each has a noise level of its own to be told.
    """

    @register_to_config
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 256,
        depth: int = 4,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.width = width
        self.grid = grid
        self.input = nn.Linear(pixels, width)
        self.time = nn.Sequential(nn.Linear(width * cells_of(grid), width), nn.SiLU())
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, pixels)

    def forward(
        self, sample: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Map `sample (B, C, H, W)` and `timestep`, (B,) or (B, cells), to `.sample`."""
        embedding = embed(timesteps_of(timestep, len(sample), self.grid), self.width).flatten(1)
        time = self.time(embedding.to(sample))
        x = self.input(sample.flatten(1))
        for block in self.blocks:
            x = block(x, time)
        result = self.output(self.norm(x)).reshape(sample.shape)
        return Transformer2DModelOutput(sample=result) if return_dict else (result,)


class ResidualBlock(nn.Module):
    """One residual block of width `width`, scaled and shifted by the time embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rise = nn.Linear(width, 2 * width)
        self.modulation = nn.Linear(width, 4 * width)
        self.fall = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map `x (B, width)` and `time (B, width)` to (B, width)."""
        scale, shift = self.modulation(time).chunk(2, dim=-1)
        inner = torch.addcmul(shift, self.rise(self.norm(x)), 1 + scale)
        result: Tensor = x + self.fall(nn.functional.silu(inner))
        return result
