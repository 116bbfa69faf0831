"""Samples that differ in quality, in an order: from worst to best, from best to worst, or mixed.

A pass has N samples, and after the last comes the first again. Sample i of a pass has a quality u
in [0, 1],

    ascending   u = i / (N - 1)
    descending  u = 1 - i / (N - 1)
    shuffled    u = order(i) / (N - 1),   a permutation that the seed decides

and is the more corrupted the lower it is: invalid, one cell of its word replaced with probability
(1 - u) · rate; or blurred, by a Gaussian of (1 - u) · rate pixels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffprobe.datasets.inference.corrupted import Corrupted, replace_cells
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.stream import Stream
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages

# A longer pass is not shuffled: its order is held in memory.
LONGEST_SHUFFLED = 2**24


class CurriculumWords(Stream):
    """Words drawn anew at every step, in passes of samples whose quality rises, falls or is mixed.

    Validation words are clean.

    Args:
        grammar: Of the clean words, and by which samples are judged.
        samples: N, at least 2.
        order: "ascending", "descending" or "shuffled" in quality.
        corruption: "invalid" or "blurred".
        rate: Of the worst sample: the probability of a wrong cell, or pixels of blur.
        seed: Of the shuffled order.

    Raises:
        UsageError: If a shuffled pass is too long, or a rate is no probability.
    """

    def __init__(
        self, grammar: Grammar, samples: int, order: str, corruption: str, rate: float, seed: int
    ) -> None:
        super().__init__(grammar)
        if samples < 2:
            raise UsageError(f"a pass has at least 2 samples, the worst and the best: {samples}")
        if order == "shuffled" and samples > LONGEST_SHUFFLED:
            raise UsageError(
                f"a shuffled pass has at most {LONGEST_SHUFFLED:,} samples, not {samples:,}"
            )
        if rate < 0 or (corruption == "invalid" and rate > 1):
            raise UsageError(
                f"the rate of a corruption is a probability for 'invalid' and a number of pixels "
                f"for 'blurred', not {rate}"
            )
        self.samples, self.order, self.corruption = samples, order, corruption
        self.rate, self.seed = rate, seed
        self.plain = corruption != "blurred"
        self._shuffled: Tensor | None = None

    @property
    def description(self) -> str:
        """How many samples, in which order; see `Stream.description`."""
        how = (
            f"up to {self.rate:.0%} of them with a wrong cell"
            if self.corruption == "invalid"
            else f"blurred by up to {self.rate:g} pixels"
        )
        return f"passes of {self.samples:,} samples of {self.order} quality, {how}"

    def quality(self, step: int, n: int) -> Tensor:
        """Return u of the samples of a step: (n,) float64."""
        return self._quality_at(torch.arange(step * n, (step + 1) * n))

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the language, some with a wrong cell; see `Stream.draw`."""
        return self._words(self.quality(step, n), generator)

    def render(
        self, images: "SymbolImages", words: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Draw the words, and blur each as its quality asks for; see `Stream.render`."""
        return self._drawn(images, words, self.quality(step, len(words)), generator)

    def draw_images(self, images: "SymbolImages", n: int, generator: torch.Generator) -> Tensor:
        """Draw images of samples from anywhere in the pass; see `Stream.draw_images`."""
        device = generator.device
        places = torch.randint(self.samples, (n,), generator=generator, device=device)
        quality = self._quality_at(places.cpu())
        return self._drawn(images, self._words(quality, generator), quality, generator)

    def language(self, step: int | None = None, n: int = 1) -> Grammar:
        """Return the words of a step with their wrong cells; of blurred ones, the world's grammar.

        The samples of a step differ in quality, and what is drawn from all of them is the language
        with a wrong cell at their mean rate: half of the worst one's for a whole pass.
        """
        mean = 0.5 if step is None else float(1 - self.quality(step, n).mean())
        if self.corruption != "invalid" or mean * self.rate == 0:
            return self.grammar
        return Corrupted(self.grammar, mean * self.rate)

    def _words(self, quality: Tensor, generator: torch.Generator) -> Tensor:
        words = self.grammar.sample(len(quality), generator)
        if self.corruption != "invalid":
            return words
        rates = ((1 - quality) * self.rate).to(words.device)
        return replace_cells(words, rates, self.grammar.symbols, generator)

    def _drawn(
        self, images: "SymbolImages", words: Tensor, quality: Tensor, generator: torch.Generator
    ) -> Tensor:
        drawn = images.draw(words, generator)
        if self.corruption != "blurred":
            return drawn
        widths = ((1 - quality) * self.rate).to(drawn)
        return images.image(blurred(images.cells(drawn), widths))

    def _quality_at(self, places: Tensor) -> Tensor:
        place = places % self.samples
        if self.order == "shuffled":
            if self._shuffled is None:
                random = seeded(self.seed, "curriculum")
                # Four bytes a sample: there may be 16 million.
                self._shuffled = torch.randperm(self.samples, generator=random, dtype=torch.int32)
            place = self._shuffled[place].long()
        rising = place.double() / (self.samples - 1)
        return 1 - rising if self.order == "descending" else rising


def blurred(cells: Tensor, widths: Tensor) -> Tensor:
    """Return glyphs blurred by a Gaussian, each cell by itself.

    Args:
        cells: (N, L, C, h, w).
        widths: (N,) standard deviations in pixels; 0 leaves an image as it is.

    Returns:
        (N, L, C, h, w); every pixel is a weighted mean of its cell's, so that the range stays.
    """
    rows, columns = (_kernel(size, widths) for size in cells.shape[-2:])
    return torch.einsum("nab,nlkbc,ndc->nlkad", rows, cells, columns)


def _kernel(size: int, widths: Tensor) -> Tensor:
    """How much each pixel of a line takes from each other: (N, size, size)."""
    places = torch.arange(size, device=widths.device, dtype=widths.dtype)
    squares = (places[:, None] - places).square()
    # A width of 0 is the limit: all from the pixel itself.
    return (-squares / (2 * widths.square().clamp(min=1e-6))[:, None, None]).softmax(-1)
