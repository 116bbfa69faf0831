"""The images of a training, drawn for a block of steps at once.

What a step sees is a function of (seed, step) all the same: each step of a block has a generator of
its own, and blocks begin at the same steps however often a training is resumed.
"""

import math

import torch
from torch import Tensor

from diffprobe.config import TrainingConfig
from diffprobe.datasets import SymbolImages
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
    """

    def __init__(
        self,
        stream: Stream,
        dataset: SymbolImages,
        settings: TrainingConfig,
        device: torch.device,
    ) -> None:
        self.stream = stream
        self.dataset = dataset
        self.settings = settings
        self.device = device
        elements = settings.batch_size * math.prod(dataset.image_shape)
        self.block = max(1, min(BLOCK_STEPS, BLOCK_ELEMENTS // elements))
        self._drawn: dict[int, tuple[Tensor, torch.Generator]] = {}

    def draw(self, step: int) -> tuple[Tensor, torch.Generator]:
        """Return the images of a step, (B, C, H, W), and its generator after they were drawn."""
        if step not in self._drawn:
            first = step - step % self.block
            steps = range(first, min(first + self.block, self.settings.steps))
            randoms = [generator(self.settings.seed, "training/0", s, self.device) for s in steps]
            images = self.stream.draw_steps(self.dataset, steps, self.settings.batch_size, randoms)
            self._drawn = dict(zip(steps, zip(images, randoms, strict=True), strict=True))
        return self._drawn.pop(step)
