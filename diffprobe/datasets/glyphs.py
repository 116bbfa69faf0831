"""Pictures of symbols, and how near one must be to be read as a symbol."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from diffprobe.datasets.handwriting import with_shifts
from diffprobe.foundations.errors import UsageError

# A picture is read as a symbol when it lies within this share of the distance between different
# symbols. At one half no other symbol's glyph could be nearer; a third leaves a no man's land.
TOLERANCE = 1 / 3


@dataclass(frozen=True, eq=False, repr=False)
class Glyphs:
    """K pictures of each of V symbols.

    Attributes:
        images: (V, K, C, h, w) float in [-1, 1], -1 the paper and +1 the ink. A symbol with fewer
            than K variants repeats its first one behind them.
        counts: (V,) long, the number of variants of each symbol.
        names: V printable names.
        radius: Root-mean-square distance per value within which a picture is still legible.
        bandwidth: Standard deviation per value with which a reader allows for deviations.
        shifted: Whether a reader also knows each picture moved by one pixel.
        unseen: (M, C, h, w) other pictures of the symbols, to test a reader with; None where
            `images` are all there are.
        unseen_labels: (M,) long, their symbols.
        plain: The same without a symbol channel, which is what a reader looks at; None where they
            have no symbol channel.
    """

    images: Tensor
    counts: Tensor
    names: tuple[str, ...]
    radius: float
    bandwidth: float
    shifted: bool = False
    unseen: Tensor | None = None
    unseen_labels: Tensor | None = None
    plain: "Glyphs | None" = None

    def __repr__(self) -> str:
        height, width = self.cell
        n = int(self.counts.max())
        return f"<Glyphs {' '.join(self.names)}: {height}×{width}, {n} variant{'s' * (n > 1)}>"

    @property
    def channels(self) -> int:
        """C, 1 for ink on paper and 3 for colours, and 1 more for a symbol channel."""
        return self.images.shape[2]

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a glyph in pixels."""
        height, width = self.images.shape[3:]
        return height, width

    @cached_property
    def known(self) -> Tensor:
        """(V, K) bool: which variants are real and not padding."""
        return torch.arange(self.images.shape[1]) < self.counts[:, None]

    @cached_property
    def templates(self) -> tuple[Tensor, Tensor]:
        """What a reader compares a picture with: (M, C, h, w), and (M,) their symbols."""
        images = self.images[self.known]
        labels = self.known.nonzero()[:, 0]
        return with_shifts(images, labels) if self.shifted else (images, labels)

    def with_symbol_channel(self) -> "Glyphs":
        """Return the same with one more channel, filled with a code of the symbol.

        The codes of V symbols are evenly spaced from -1 to 1. A reader does not look at them.
        """
        codes = torch.linspace(-1, 1, len(self.images))
        unseen = self.unseen
        if unseen is not None and self.unseen_labels is not None:
            unseen = _with_channel(unseen, codes[self.unseen_labels])
        return replace(
            self,
            images=_with_channel(self.images, codes[:, None].expand(self.images.shape[:2])),
            unseen=unseen,
            plain=self,
        )

    @classmethod
    def drawn(cls, images: Tensor, names: Sequence[str]) -> "Glyphs":
        """Return glyphs of which `images (V, K, C, h, w)` are all there are, all K of each symbol.

        Raises:
            UsageError: If two symbols look alike.
        """
        radius = _symbol_radius(images)
        if radius == 0:
            raise UsageError(f"two of the symbols {list(names)} are drawn alike")
        counts = torch.full((len(images),), images.shape[1])
        return cls(images, counts, tuple(names), radius, radius)

    @classmethod
    def pixels(cls) -> "Glyphs":
        """Two symbols of one pixel each, -1 and +1: the corners of the hypercube."""
        return cls.drawn(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1, 1), ("-", "+"))

    @classmethod
    def font(
        cls,
        symbols: Sequence[str],
        cell: tuple[int, int] = (8, 8),
        variants: int = 1,
        font: str | Path | None = None,
    ) -> "Glyphs":
        """Draw each symbol in a font, in `variants` ways that differ in place, size and stroke.

        Args:
            symbols: V distinct strings, usually of one character.
            cell: Height and width in pixels.
            variants: K; the first is centred, regular and of full size.
            font: A TrueType or OpenType file; by default matplotlib's DejaVu Sans.

        Raises:
            UsageError: If the font cannot be read or lacks a glyph, or two symbols look alike.
        """
        from diffprobe.datasets.fonts import draw_symbols

        return cls.drawn(draw_symbols(symbols, cell, variants, font)[:, :, None], symbols)

    @classmethod
    def coloured(
        cls,
        shapes: Sequence[str],
        colours: Sequence[str],
        cell: tuple[int, int] = (8, 8),
        font: str | Path | None = None,
        *,
        blank: bool = False,
    ) -> "Glyphs":
        """Draw each shape in each colour on black: symbol `s * len(colours) + c` is s in c.

        Args:
            shapes: Distinct strings, usually of one character.
            colours: Distinct names as matplotlib has them, or `#rrggbb`.
            cell: Height and width in pixels.
            font: A TrueType or OpenType file; by default matplotlib's DejaVu Sans.
            blank: Whether an empty cell is a symbol too, the first.

        Raises:
            UsageError: If a colour is unknown, the font cannot be read or lacks a glyph, or two
                symbols look alike, as all do in black.
        """
        from diffprobe.datasets.fonts import draw_symbols

        coverage = (draw_symbols(shapes, cell, 1, font) + 1) / 2
        inks = torch.tensor([_rgb(colour) for colour in colours])
        # (S, 1, h, w) of each shape and (C, 3) of each colour
        images = torch.einsum("skhw,cr->sckrhw", coverage, inks).flatten(0, 1) * 2 - 1
        names = [f"{colour} {shape}" for shape in shapes for colour in colours]
        if blank:
            images = torch.cat([torch.full_like(images[:1], -1.0), images])
            names = ["empty", *names]
        return cls.drawn(images, names)

    @classmethod
    def digits(cls, split: str = "train") -> "Glyphs":
        """Real handwritten digits 0 … 9, 8×8 pixels, of writers whose forms are in one split.

        Those of the other split are `unseen`. The reader's radius and bandwidth come from the
        training forms alone, each of them read with the other nine.

        Args:
            split: "train" or "held-out".

        Raises:
            UsageError: If the split is unknown or scikit-learn is not installed.
        """
        from diffprobe.datasets import handwriting

        train, held_out = handwriting.load_digits()
        if split not in ("train", "held-out"):
            raise UsageError(f"split must be 'train' or 'held-out', not {split!r}")
        chosen, other = (train, held_out) if split == "train" else (held_out, train)
        per_symbol = [chosen.images[chosen.labels == v] for v in range(10)]
        counts = torch.tensor([len(p) for p in per_symbol])
        most = int(counts.max())
        images = torch.stack(
            [torch.cat([p, p[:1].expand(most - len(p), -1, -1)]) for p in per_symbol]
        )
        return cls(
            images[:, :, None],
            counts,
            tuple("0123456789"),
            radius=handwriting.legible_radius(train),
            bandwidth=handwriting.BANDWIDTH,
            shifted=True,
            unseen=other.images[:, None],
            unseen_labels=other.labels,
        )


def _with_channel(images: Tensor, codes: Tensor) -> Tensor:
    """Return pictures (…, C, h, w) with a channel that holds the `codes (…)`: (…, C + 1, h, w)."""
    channel = codes[..., None, None, None].expand_as(images[..., :1, :, :])
    return torch.cat([images, channel], -3)


def _symbol_radius(images: Tensor) -> float:
    symbols, variants = images.shape[:2]
    if symbols == 1:
        return TOLERANCE
    flat = images.flatten(2).flatten(0, 1)
    distance = torch.cdist(flat, flat) / math.sqrt(flat.shape[1])
    owner = torch.arange(symbols).repeat_interleave(variants)
    return TOLERANCE * distance[owner[:, None] != owner].min().item()


def _rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue, each from 0 to 1."""
    from matplotlib.colors import is_color_like, to_rgb

    if not is_color_like(colour):
        raise UsageError(
            f"{colour!r} is no colour; name one as matplotlib does, such as red, or write #rrggbb"
        )
    red, green, blue = to_rgb(colour)
    return red, green, blue
