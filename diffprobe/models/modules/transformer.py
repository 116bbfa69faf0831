"""A thin adaLN-zero transformer for strips and grids of cells.

diffusers' DiTTransformer2DModel is square-only and wants class labels; this one takes any grid,
and its patch is a cell or a fraction of one.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from einops import rearrange, repeat
from torch import Tensor, nn

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.errors import UsageError
from diffprobe.models.modules.levels import embed, timesteps_of
from diffprobe.models.networks.transformer import check_heads, check_patch


class StripTransformer(ModelMixin, ConfigMixin):
    """A diffusion transformer over patches, with learned positions.

    Args:
        image_shape: C, H, W.
        patch: Height and width of a patch in pixels; must divide H and W.
        width: Size of a token.
        depth: Number of blocks.
        heads: Attention heads; must divide `width`.
        grid: Rows and columns of cells, where each has a noise level of its own to be told: to the
            tokens in it.

    Raises:
        UsageError: If the patch does not divide the image, or a cell of the grid, or the heads do
            not divide the width.

    Reference:
        Peebles & Xie, "Scalable diffusion models with transformers", arXiv:2212.09748 (adaLN-zero).
    """

    @register_to_config
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patch: tuple[int, int] = (8, 8),
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        channels, height, image_width = image_shape
        check_patch(patch, height, image_width)
        check_heads(heads, width)
        self.patch = tuple(patch)
        self.grid = grid
        # Tokens to a cell, down and across.
        self.tokens_of_cell = (1, 1) if grid is None else _tokens_of_cell(image_shape, grid, patch)
        self.rows, self.columns = height // patch[0], image_width // patch[1]
        self.width = width
        features = channels * patch[0] * patch[1]
        self.input = nn.Linear(features, width)
        self.positions = nn.Parameter(torch.randn(1, self.rows * self.columns, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, features)
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, sample: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Map `sample (B, C, H, W)` and `timestep`, (B,) or (B, cells), to `.sample`."""
        h, w = self.patch
        tokens = rearrange(sample, "b c (r h) (k w) -> b (r k) (c h w)", h=h, w=w)
        embedding = embed(timesteps_of(timestep, len(sample), self.grid), self.width)
        time = nn.functional.silu(self.time(embedding.to(sample)))
        if self.grid is not None:
            time = self._by_token(time, self.grid)
        x = self.input(tokens) + self.positions
        for block in self.blocks:
            x = block(x, time)
        scale, shift = _by_image_or_token(self.modulation(time)).chunk(2, dim=-1)
        x = self.output(torch.addcmul(shift, self.norm(x), 1 + scale))
        result = rearrange(
            x, "b (r k) (c h w) -> b c (r h) (k w)", r=self.rows, k=self.columns, h=h, w=w
        )
        return Transformer2DModelOutput(sample=result) if return_dict else (result,)

    def _by_token(self, by_cell: Tensor, grid: tuple[int, int]) -> Tensor:
        """Give each token what its cell has: (B, cells, width) -> (B, N, width)."""
        (rows, columns), (down, across) = grid, self.tokens_of_cell
        return repeat(
            by_cell,
            "b (r k) d -> b (r down k across) d",
            r=rows,
            k=columns,
            down=down,
            across=across,
        )


class TransformerBlock(nn.Module):
    """Self-attention and an MLP, each scaled, shifted and gated by the time embedding.

    The gates start at zero, so that a block starts as the identity.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map tokens `x (B, N, width)` and `time`, (B, width) or of tokens, to (B, N, width)."""
        modulation = _by_image_or_token(self.modulation(time))
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = modulation.chunk(6, dim=-1)
        heard = self.attend(torch.addcmul(shift_a, self.norm(x), 1 + scale_a))
        x = torch.addcmul(x, gate_a, heard)
        return torch.addcmul(x, gate_m, self.mlp(torch.addcmul(shift_m, self.norm(x), 1 + scale_m)))

    def attend(self, x: Tensor) -> Tensor:
        """Let every token listen to every other: (B, N, width) -> (B, N, width)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        heard = nn.functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.project(rearrange(heard, "b h n d -> b n (h d)"))
        return result


def _by_image_or_token(modulation: Tensor) -> Tensor:
    """(B, D) of images as (B, 1, D) for all their tokens; (B, N, D) as it is."""
    return modulation[:, None] if modulation.ndim == 2 else modulation


def _tokens_of_cell(
    image_shape: tuple[int, int, int], grid: tuple[int, int], patch: tuple[int, int]
) -> tuple[int, int]:
    cells = CellGrid.of(image_shape, grid)
    if cells.height % patch[0] or cells.width % patch[1]:
        raise UsageError(
            f"a patch of {patch[0]}×{patch[1]} pixels does not divide a cell of "
            f"{cells.height}×{cells.width}, which has a noise level of its own"
        )
    return cells.height // patch[0], cells.width // patch[1]
