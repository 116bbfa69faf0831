"""Pictures of symbols: from fonts, from handwriting, or single pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffprobe.foundations.errors import UsageError

# A picture is read as a symbol when it lies within this share of the distance between different
# symbols. At one half no other symbol's glyph could be nearer; a third leaves a no man's land.
TOLERANCE = 1 / 3

# Of the training forms, each read with the other nine: the standard deviation per pixel at which
# their labels are most likely (0.7 and 0.9 are worse), and the share that lies within the radius.
HANDWRITING_BANDWIDTH = 0.8
HANDWRITING_WITHIN = 0.99
FORMS = 10  # in the training digits


@dataclass(frozen=True, eq=False)
class Glyphs:
    """K pictures of each of V symbols.

    Attributes:
        images: (V, K, h, w) float in [-1, 1], -1 the paper and +1 the ink. A symbol with fewer
            than K variants repeats its first one behind them.
        counts: (V,) long, the number of variants of each symbol.
        names: V printable names.
        radius: Root-mean-square distance per pixel within which a picture is still legible.
        bandwidth: Standard deviation per pixel with which a reader allows for deviations.
        shifted: Whether a reader also knows each picture moved by one pixel.
        unseen: (M, h, w) other pictures of the symbols, to test a reader with; None where `images`
            are all there are.
        unseen_labels: (M,) long, their symbols.
    """

    images: Tensor
    counts: Tensor
    names: tuple[str, ...]
    radius: float
    bandwidth: float
    shifted: bool = False
    unseen: Tensor | None = None
    unseen_labels: Tensor | None = None

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a glyph in pixels."""
        height, width = self.images.shape[2:]
        return height, width

    @cached_property
    def known(self) -> Tensor:
        """(V, K) bool: which variants are real and not padding."""
        return torch.arange(self.images.shape[1]) < self.counts[:, None]

    @cached_property
    def templates(self) -> tuple[Tensor, Tensor]:
        """What a reader compares a picture with: (M, h, w) pictures, and (M,) their symbols."""
        images = self.images[self.known]
        labels = self.known.nonzero()[:, 0]
        return _shifted(images, labels) if self.shifted else (images, labels)

    @classmethod
    def pixels(cls) -> "Glyphs":
        """Two symbols of one pixel each, -1 and +1: the corners of the hypercube."""
        images = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
        radius = _symbol_radius(images)
        return cls(images, torch.ones(2, dtype=torch.long), ("-", "+"), radius, radius)

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
        if len(set(symbols)) != len(symbols) or not symbols:
            raise UsageError(f"symbols must be distinct and at least one: {list(symbols)}")
        if min(cell) < 3:
            raise UsageError(f"a cell of {cell[0]}×{cell[1]} pixels is too small to draw in")
        if variants < 1:
            raise UsageError(f"variants must be at least 1, not {variants}")
        path = Path(font) if font else _default_font()
        _check_font(path, symbols)
        images = torch.stack([_draw_symbol(s, path, cell, variants) for s in symbols])
        radius = _symbol_radius(images)
        if radius == 0:
            raise UsageError(f"{path.name} draws two of the symbols {list(symbols)} alike")
        return cls(images, torch.full((len(symbols),), variants), tuple(symbols), radius, radius)

    @classmethod
    def digits(cls, split: str = "train") -> "Glyphs":
        """Real handwritten digits 0 … 9, 8×8 pixels: scikit-learn's 1,797.

        The file is ordered by writers' forms: one sequence of labels recurs about every 130
        digits. `"train"` is the first ten forms and `"held-out"` the rest, so no form is in both;
        those of the other split are `unseen`. The reader's radius and bandwidth come from the
        training forms alone, each of them read with the other nine.

        Args:
            split: "train" or "held-out".

        Raises:
            UsageError: If the split is unknown or scikit-learn is not installed.
        """
        train, held_out = _load_digits()
        if split not in ("train", "held-out"):
            raise UsageError(f"split must be 'train' or 'held-out', not {split!r}")
        chosen, other = (train, held_out) if split == "train" else (held_out, train)
        per_symbol = [chosen[0][chosen[1] == v] for v in range(10)]
        counts = torch.tensor([len(p) for p in per_symbol])
        most = int(counts.max())
        images = torch.stack(
            [torch.cat([p, p[:1].expand(most - len(p), -1, -1)]) for p in per_symbol]
        )
        return cls(
            images,
            counts,
            tuple("0123456789"),
            radius=_handwriting_radius(*train),
            bandwidth=HANDWRITING_BANDWIDTH,
            shifted=True,
            unseen=other[0],
            unseen_labels=other[1],
        )


def _symbol_radius(images: Tensor) -> float:
    symbols, variants = images.shape[:2]
    if symbols == 1:
        return TOLERANCE
    flat = images.flatten(2).flatten(0, 1)
    distance = torch.cdist(flat, flat) / math.sqrt(flat.shape[1])
    owner = torch.arange(symbols).repeat_interleave(variants)
    return TOLERANCE * distance[owner[:, None] != owner].min().item()


def _handwriting_radius(images: Tensor, labels: Tensor) -> float:
    """The radius that holds the digits of each form when the reader knows the other forms."""
    form = torch.arange(len(images)) * FORMS // len(images)
    nearest = [
        torch.cdist(
            images[form == f].flatten(1),
            _shifted(images[form != f], labels[form != f])[0].flatten(1),
        ).amin(1)
        for f in range(FORMS)
    ]
    pixels = images[0].numel()
    return (torch.cat(nearest) / math.sqrt(pixels)).quantile(HANDWRITING_WITHIN).item()


def _shifted(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (M, h, w) with each moved by a pixel to four sides: (5M, h, w), (5M,)."""
    height, width = images.shape[1:]
    paper = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    moved = [
        paper[:, top : top + height, left : left + width]
        for top, left in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    ]
    return torch.cat(moved), labels.repeat(5)


def _default_font() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _check_font(path: Path, symbols: Sequence[str]) -> None:
    from matplotlib.ft2font import FT2Font

    if not path.is_file():
        raise UsageError(f"no font file at {path}")
    try:
        charmap = FT2Font(str(path)).get_charmap()
    except RuntimeError as error:
        raise UsageError(f"{path} is not a font that can be read: {error}") from error
    for symbol in symbols:
        for character in symbol:
            if ord(character) not in charmap:
                raise UsageError(
                    f"{path.name} has no glyph for {character!r} (U+{ord(character):04X}); "
                    "choose another symbol, or another font file"
                )


def _draw_symbol(symbol: str, path: Path, cell: tuple[int, int], variants: int) -> Tensor:
    # Drawn 16 times larger and averaged down, so that sub-pixel shifts and strokes show.
    scale = 16
    height, width = cell[0] * scale, cell[1] * scale
    pictures = []
    for variant in range(variants):
        shift_x, shift_y, shrink, stroke = _variation(variant)
        size = 1.05 * min(height, 1.35 * width) * shrink
        font = ImageFont.truetype(str(path), max(1, round(size)))
        canvas = Image.new("L", (width, height), 0)
        # Anchored by the font's own line, so that "." stays low and "'" high.
        ascent, descent = font.getmetrics()
        x = width / 2 + shift_x * scale
        y = (height - (ascent + descent)) / 2 + ascent + shift_y * scale
        ImageDraw.Draw(canvas).text(
            (x, y), symbol, fill=255, font=font, anchor="ms", stroke_width=round(stroke * scale)
        )
        ink = np.asarray(canvas, dtype=np.float32) / 255
        ink = ink.reshape(cell[0], scale, cell[1], scale).mean((1, 3))
        # The thin strokes of a small cell never fill a pixel: full contrast for every glyph.
        pictures.append(ink / max(ink.max(), 1e-6))
    return torch.from_numpy(np.stack(pictures)) * 2 - 1


def _variation(variant: int) -> tuple[float, float, float, float]:
    """Shift (pixels), relative size and extra stroke (pixels) of a variant; 0 is the plain one."""
    if variant == 0:
        return 0.0, 0.0, 1.0, 0.15
    # Halton points fill the range evenly for any number of variants, without a seed.
    x, y, size, stroke = (_halton(variant, base) for base in (2, 3, 5, 7))
    return x - 0.5, y - 0.5, 0.85 + 0.15 * size, 0.05 + 0.25 * stroke


def _halton(index: int, base: int) -> float:
    value, fraction = 0.0, 1.0 / base
    while index:
        value += fraction * (index % base)
        index //= base
        fraction /= base
    return value


def _load_digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "handwritten digits need scikit-learn: pip install 'diffprobe[digits]'"
        ) from error
    data = load_digits()
    images = torch.from_numpy(data.images).float() / 8 - 1
    labels = torch.from_numpy(data.target).long()
    first_held_out = 1287  # where the eleventh writer's form begins
    return (
        (images[:first_held_out], labels[:first_held_out]),
        (images[first_held_out:], labels[first_held_out:]),
    )
