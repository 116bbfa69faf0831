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
from diffprobe.datasets.condition import EMPTY
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
        condition: Tokens of a condition and how many symbols a token may be, where there is one:
            each block attends to it. A token alone is of the whole image and modulates the blocks
            with the noise level, too, as DiT's class does.

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
        condition: tuple[int, int] | None = None,
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
        # Not called as the setting is, whose value diffusers would return for it.
        self.embedding = None if condition is None else ConditionEmbedding(*condition, width)
        told = condition is not None
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, told) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, features)
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict from noisy images.

        Args:
            sample: (B, C, H, W).
            timestep: (B,) or (B, cells).
            encoder_hidden_states: The condition: (B, M) long, or its embeddings (B, M, width) as
                `embedding` makes them; by default nothing is told.
            return_dict: As of every diffusers model.

        Returns:
            `.sample (B, C, H, W)`.

        Raises:
            UsageError: If there is a condition, and the network takes none or another.
        """
        told = self._told(encoder_hidden_states, len(sample))
        h, w = self.patch
        tokens = rearrange(sample, "b c (r h) (k w) -> b (r k) (c h w)", h=h, w=w)
        embedding = embed(timesteps_of(timestep, len(sample), self.grid), self.width)
        time = self.time(embedding.to(sample))
        if told is not None and told.shape[1] == 1:  # of the whole image, as a class is
            time = time + (told[:, 0] if time.ndim == 2 else told)
        time = nn.functional.silu(time)
        if self.grid is not None:
            time = self._by_token(time, self.grid)
        x = self.input(tokens) + self.positions
        for block in self.blocks:
            x = block(x, time, told)
        scale, shift = _by_image_or_token(self.modulation(time)).chunk(2, dim=-1)
        x = self.output(torch.addcmul(shift, self.norm(x), 1 + scale))
        result = rearrange(
            x, "b (r k) (c h w) -> b c (r h) (k w)", r=self.rows, k=self.columns, h=h, w=w
        )
        return Transformer2DModelOutput(sample=result) if return_dict else (result,)

    def _told(self, condition: Tensor | None, batch: int) -> Tensor | None:
        """What the blocks attend to, (B, M, width); None of a network without conditions."""
        if self.embedding is None:
            if condition is not None:
                raise UsageError("this network was made without conditions, and one is told")
            return None
        if condition is not None and condition.is_floating_point():
            return condition
        told: Tensor = self.embedding(
            self.embedding.nothing(batch) if condition is None else condition
        )
        return told

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


class ConditionEmbedding(nn.Module):
    """Tokens of a condition as vectors: one of their symbol, and one of their place.

    Args:
        tokens: M.
        symbols: K; one more stands for what is not told.
        width: Of a vector.
    """

    def __init__(self, tokens: int, symbols: int, width: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols + 1, width)
        # As large as the symbols' vectors: what listens must tell tokens apart by their places.
        self.positions = nn.Parameter(torch.randn(1, tokens, width))

    def forward(self, told: Tensor) -> Tensor:
        """Map `told (B, M)` long, `EMPTY` for nothing, to (B, M, width).

        Raises:
            UsageError: If there are more tokens, or fewer.
        """
        if told.ndim != 2 or told.shape[1] != self.positions.shape[1]:
            raise UsageError(
                f"a condition of this network is (B, {self.positions.shape[1]}) tokens, not "
                f"{tuple(told.shape)}"
            )
        # The last vector is that of `EMPTY`, -1.
        embedded: Tensor = self.symbols(told.remainder(self.symbols.num_embeddings))
        return embedded + self.positions

    def nothing(self, batch: int) -> Tensor:
        """Return the tokens that tell nothing: (B, M) long."""
        shape = batch, self.positions.shape[1]
        return torch.full(shape, EMPTY, device=self.positions.device)


class TransformerBlock(nn.Module):
    """Self-attention and an MLP, each scaled, shifted and gated by the time embedding.

    The gates start at zero, so that a block starts as the identity. Where there is a condition, the
    tokens attend to it in between.
    """

    def __init__(self, width: int, heads: int, told: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.listen = Listening(width, heads) if told else None
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor, told: Tensor | None = None) -> Tensor:
        """Map tokens to (B, N, width).

        Args:
            x: (B, N, width).
            time: (B, width), or of tokens (B, N, width).
            told: (B, M, width), the condition, of a block that listens to one.
        """
        modulation = _by_image_or_token(self.modulation(time))
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = modulation.chunk(6, dim=-1)
        heard = self.attend(torch.addcmul(shift_a, self.norm(x), 1 + scale_a))
        x = torch.addcmul(x, gate_a, heard)
        if self.listen is not None and told is not None:
            x = x + self.listen(x, told)
        return torch.addcmul(x, gate_m, self.mlp(torch.addcmul(shift_m, self.norm(x), 1 + scale_m)))

    def attend(self, x: Tensor) -> Tensor:
        """Let every token listen to every other: (B, N, width) -> (B, N, width)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        heard = nn.functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.project(rearrange(heard, "b h n d -> b n (h d)"))
        return result


class Listening(nn.Module):
    """Cross-attention of an image's tokens to those of a condition; it starts as zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Map `x (B, N, width)` and `told (B, M, width)` to what is heard, (B, N, width)."""
        q = rearrange(self.query(self.norm(x)), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.key_value(told), "b m (two h d) -> two b h m d", two=2, h=self.heads)
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
