"""Every word of a language in each batch: gradients over the population of words.

Noise and noise levels are still drawn anew for each image.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.stream import LISTED, Stream
from diffprobe.foundations.errors import UsageError

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages


class EveryWord(Stream):
    """All words of the language in each batch, each as often as any other.

    With weights a word w is in a batch of n floor(n p_w) or ceil(n p_w) times, n p_w on average.

    Args:
        grammar: Whose words they are.

    Raises:
        UsageError: If there are too many to list.
    """

    def __init__(self, grammar: Grammar) -> None:
        super().__init__(grammar)
        self.words = grammar.words(LISTED)
        self.probability = grammar.probability(self.words)

    @property
    def description(self) -> str:
        """How many words; see `Stream.description`."""
        return f"all {len(self.words):,} of them in each batch"

    def check(self, steps: int, batch_size: int) -> None:
        """Raise UsageError unless each word is in a batch, all as often where they weigh alike."""
        size = len(self.words)
        if self.grammar.weighted or batch_size % size == 0:
            return
        fits = math.ceil(batch_size / size) * size
        raise UsageError(
            f"stream.name=every-word has each of {size:,} words equally often in a batch, and "
            f"training.batch_size={batch_size:,} is no multiple of {size:,}: try {fits:,}"
        )

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return all words of the language; see `Stream.draw`.

        Raises:
            UsageError: If they do not fit; see `check`.
        """
        self.check(step + 1, n)
        words = self.words.to(generator.device)
        if not self.grammar.weighted:
            return words.repeat(n // len(words), 1)
        # Places at even distances on the cumulated probabilities, the first at random.
        first = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
        places = (first + torch.arange(n, device=generator.device)) / n
        ends = self.probability.to(generator.device).cumsum(0)
        return words[torch.searchsorted(ends, places).clamp(max=len(words) - 1)]

    def draw_images(self, images: "SymbolImages", n: int, generator: torch.Generator) -> Tensor:
        """Draw images of any words of the language; see `Stream.draw_images`."""
        return images.draw(self.grammar.sample(n, generator), generator)

    def language(self, step: int | None = None, n: int = 1) -> Grammar:
        """Return the world's grammar."""
        return self.grammar
