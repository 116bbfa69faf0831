"""The noisy inputs that sharpness is measured at: blocks, each with some of every noise level."""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser, PredictionDenoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.probes.sharpness.curvature import LossCurvature, Weights
from diffprobe.probing.noise_levels import clean_inputs

BLOCKS = 16
# How often activations are held: forward, backward, and backward through both.
GRAPHS = 4.0


class Inputs:
    """B blocks of noisy images of T ranges of noise levels, independent of each other.

    Args:
        denoiser: What is measured.
        weights: Its own.
        images: Where clean images come from.
        n: Of each range; a multiple of `BLOCKS`, or less than that.
        levels: T equal ranges of t; within one, t is uniform, as in training.
        seed: Of what is drawn.
        bayes: The Bayes oracle, where it is known.

    Attributes:
        blocks: B.
        each: Images of a block at a range.
        middles: (T,) long, of the ranges, noisiest first.
    """

    def __init__(
        self,
        denoiser: PredictionDenoiser,
        weights: Weights,
        images: SymbolImages | ImageSet,
        n: int,
        levels: int,
        seed: int,
        bayes: Denoiser | None,
    ) -> None:
        self._denoiser, self._weights, self._bayes = denoiser, weights, bayes
        self.blocks = min(BLOCKS, n)
        self.each = n // self.blocks
        ends = torch.arange(levels + 1) * denoiser.timesteps // levels
        lows, highs = ends[:-1].flip(0), ends[1:].flip(0)
        self.middles = (lows + highs) // 2
        random = generator(seed, "sharpness levels")
        drawn = torch.rand(levels, self.blocks, self.each, generator=random)
        t = lows[:, None, None] + (drawn * (highs - lows)[:, None, None]).long()
        self._t = t.to(denoiser.device)
        made = [clean_inputs(images, levels * self.each, seed, b) for b in range(self.blocks)]
        # (B, T, each, C, H, W)
        self._x_0, self._eps = (
            torch.stack(part).unflatten(1, (levels, self.each)) for part in zip(*made, strict=True)
        )
        shape = tuple(self._x_0.shape[3:])
        most = self.blocks * self.each
        self._at_once = inputs_at_once(denoiser, shape, most, GRAPHS)

    def block(self, block: int, level: int) -> LossCurvature:
        """Return the loss at a block's images of a range."""
        return self._loss(self._x_0[block, level], self._eps[block, level], self._t[level, block])

    def product(self, level: int, v: Tensor) -> Tensor:
        """Return H v of a range, over all blocks: (P,) from (P,)."""
        found = torch.zeros_like(v)
        for share, part in self._parts(level):
            found += share * part.products([v])[0]
        return found

    def _parts(self, level: int) -> Iterator[tuple[float, LossCurvature]]:
        x_0, eps = (made[:, level].flatten(0, 1) for made in (self._x_0, self._eps))
        t = self._t[level].flatten()
        for rows in torch.arange(len(t)).split(self._at_once):
            yield len(rows) / len(t), self._loss(x_0[rows], eps[rows], t[rows])

    def _loss(self, x_0: Tensor, eps: Tensor, t: Tensor) -> LossCurvature:
        device = self._denoiser.device
        return LossCurvature(
            self._denoiser, self._weights, x_0.to(device), eps.to(device), t, self._bayes
        )
