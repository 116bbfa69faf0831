"""The images of a training, and what is told of them, drawn for a block of steps at once.

What a step sees is a function of (seed, step) all the same: each step of a block has a generator of
its own, and blocks begin at the same steps however often a training is resumed.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffprobe.config import TrainingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import EMPTY, Conditions
from diffprobe.datasets.stream import Stream
from diffprobe.foundations.seeding import generator

# Numbers of a block of images: 16 MiB in float32. Steps of a block: by then the cost of a call of
# PyTorch is shared by so many that it does not count.
BLOCK_ELEMENTS = 2**22
BLOCK_STEPS = 64


class Batches:
    """The clean images of each step, and the generator of whatever else the step draws.

    Args:
        stream: Where words come from.
        dataset: Draws them.
        settings: Batch size, seed, and how many steps there are.
        device: Where images are made.
        conditions: What is told of their words, if anything.
        drop: Of a share of the images nothing is.
    """

    def __init__(
        self,
        stream: Stream,
        dataset: SymbolImages,
        settings: TrainingConfig,
        device: torch.device,
        conditions: Conditions | None = None,
        drop: float = 0.0,
    ) -> None:
        self.stream = stream
        self.dataset = dataset
        self.settings = settings
        self.device = device
        elements = settings.batch_size * math.prod(dataset.image_shape)
        self.block = max(1, min(BLOCK_STEPS, BLOCK_ELEMENTS // elements))
        self.conditions, self.drop = conditions, drop
        self._drawn: dict[int, tuple[Tensor, Tensor | None, torch.Generator]] = {}

    def draw(self, step: int) -> tuple[Tensor, Tensor | None, torch.Generator]:
        """Return what a step sees.

        Returns:
            Images (B, C, H, W), what is told of them, (B, M) long or None, and the step's generator
            after they were drawn.
        """
        if step not in self._drawn:
            first = step - step % self.block
            steps = range(first, min(first + self.block, self.settings.steps))
            randoms = [generator(self.settings.seed, "training/0", s, self.device) for s in steps]
            drawn = self._draw_steps(steps, randoms)
            self._drawn = {
                s: (*pair, random) for s, pair, random in zip(steps, drawn, randoms, strict=True)
            }
        return self._drawn.pop(step)

    def _draw_steps(
        self, steps: range, randoms: Sequence[torch.Generator]
    ) -> list[tuple[Tensor, Tensor | None]]:
        n = self.settings.batch_size
        if self.conditions is None:
            images = self.stream.draw_steps(self.dataset, steps, n, randoms)
            return [(each, None) for each in images]
        found: list[tuple[Tensor, Tensor | None]] = []
        for step, random in zip(steps, randoms, strict=True):
            words = self.stream.draw(step, n, random)
            drawn = self.stream.render(self.dataset, words, step, random)
            told = self.conditions.of(words, random)
            dropped = torch.rand(n, 1, generator=random, device=self.device) < self.drop
            found.append((drawn, told.masked_fill(dropped, EMPTY)))
        return found
