"""Pairs of inputs that differ in one cell: the same noise on two words, clean and corrupted.

With a grammar the corrupted word has another symbol in one cell, drawn from the others alike: it is
seldom valid, so that what it asks of the network is what that one cell says. Without a grammar one
region of the image is that of another image of the set. Cells take turns, so that each is changed
as often.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.noise_levels import check_level
from diffprobe.probing.regions import Regions


@dataclass(frozen=True)
class Pairs:
    """N pairs of images and the noise of each.

    Attributes:
        clean, corrupted: (N, C, H, W), alike but for one region.
        eps: (N, C, H, W), added to both.
        cell: (N,) long, the region in which they differ.
        sources: (N,) long, the pair of words, or the picture, that each was made from.
    """

    clean: Tensor
    corrupted: Tensor
    eps: Tensor
    cell: Tensor
    sources: Tensor

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of an image."""
        channels, height, width = self.clean.shape[1:]
        return channels, height, width

    def at(self, denoiser: Denoiser, t: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t of the clean and of the corrupted images `rows`, on the device.

        Raises:
            UsageError: If the denoiser has no such level.
        """
        check_level(denoiser, t)
        clean, corrupted, eps = (
            x[rows].to(denoiser.device) for x in (self.clean, self.corrupted, self.eps)
        )
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
        return alpha * clean + sigma * eps, alpha * corrupted + sigma * eps


def draw_pairs(
    images: SymbolImages | ImageSet, regions: Regions, pairs: int, noises: int, seed: int
) -> Pairs:
    """Draw pairs of words, or of images, and noise.

    Args:
        images: Where they come from.
        regions: R regions; those of a dataset are its cells.
        pairs: Pairs of words.
        noises: Draws of noise for each.
        seed: Of the draws.

    Raises:
        UsageError: If there is one symbol or one image only, or the regions are not the cells of a
            dataset.
    """
    if why := lacking(images, regions):
        raise UsageError(why)
    random = generator(seed, "patching")
    cell = torch.arange(pairs) % len(regions)
    changed = regions.masks[cell]
    if isinstance(images, SymbolImages):
        clean, other, sources = _words(images, cell, random)
    else:
        sources = images.draw_sources(pairs, random)
        shift = torch.randint(1, len(images.images), (pairs,), generator=random)
        clean = images.images[sources]
        other = images.images[(sources + shift) % len(images.images)]
    corrupted = torch.where(changed, other, clean)
    rows = torch.arange(pairs).repeat_interleave(noises)
    eps = torch.randn(len(rows), *clean.shape[1:], generator=random)
    return Pairs(clean[rows], corrupted[rows], eps, cell[rows], sources[rows])


def lacking(images: SymbolImages | ImageSet, regions: Regions) -> str | None:
    """Return why no pairs can be drawn; None where they can."""
    if not isinstance(images, SymbolImages):
        one = len(images.images) < 2
        return "two images that differ in one region need two images at least" if one else None
    if images.grammar.symbols < 2:
        return "with one symbol there is no other to put in its place"
    if not torch.equal(regions.masks, Regions.cells(images).masks):
        return (
            "it changes the symbol of a cell, and these regions are not the "
            f"{images.grammar.length} cells: leave out --regions"
        )
    return None


def _words(
    dataset: SymbolImages, cell: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Images of words, the same with another symbol in a cell, and numbers of the words."""
    n, symbols = len(cell), dataset.grammar.symbols
    words = dataset.grammar.sample(n, random)
    other = words.clone()
    rows = torch.arange(n)
    shift = torch.randint(1, symbols, (n,), generator=random)
    other[rows, cell] = (words[rows, cell] + shift) % symbols
    return dataset.draw(words, random), dataset.draw(other, random), rows
