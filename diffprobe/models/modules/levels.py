"""What a network is told of noise levels: one for an image, or one for each cell."""

import math
from functools import cache

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError

Grid = tuple[int, int]


def cells_of(grid: Grid | None) -> int:
    """Return the number of cells, 1 where an image has one level."""
    return 1 if grid is None else grid[0] * grid[1]


def timesteps_of(timestep: Tensor, batch: int, grid: Grid | None) -> Tensor:
    """Return the timestep of each image, (B,), or of each cell, (B, cells).

    Args:
        timestep: (), (B,) or, with a grid, (B, cells).
        batch: B.
        grid: Rows and columns of cells; None for a network that knows one level an image.

    Raises:
        UsageError: If there is a level for each cell, and no grid.
    """
    if grid is None:
        if timestep.ndim > 1:
            raise UsageError(
                f"this network takes one noise level an image; timesteps of shape "
                f"{tuple(timestep.shape)} need one made with network.levels_by_cell = true"
            )
        return timestep.expand(batch)
    by_image = timestep if timestep.ndim == 2 else timestep.expand(batch)[:, None]
    return by_image.expand(batch, cells_of(grid))


def embed(timesteps: Tensor, width: int) -> Tensor:
    """Return the sinusoidal embedding of `timesteps`, (B,) or (B, cells): (…, width) float32.

    It is that of diffusers' `get_timestep_embedding`, bit for bit, without making its frequencies
    anew at every call.
    """
    # torch.compile looks through a cache anyway, and warns.
    make = _frequencies.__wrapped__ if torch.compiler.is_compiling() else _frequencies
    angles = timesteps[..., None].float() * make(width // 2, timesteps.device)
    found = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return torch.nn.functional.pad(found, (0, 1)) if width % 2 else found


@cache
def _frequencies(n: int, device: torch.device) -> Tensor:
    """From 1 to 1/10000, evenly in their logarithms: (n,)."""
    exponents = -math.log(10000) * torch.arange(n, dtype=torch.float32, device=device)
    return (exponents / (n - 1)).exp()
