"""Symbols drawn in a font, in variants that differ in place, size and stroke."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffprobe.datasets.font_files import check_symbols, font_file


def draw_symbols(
    symbols: Sequence[str], cell: tuple[int, int], variants: int, font: str | Path | None = None
) -> Tensor:
    """Draw each symbol in `variants` ways.

    Args:
        symbols: V distinct strings, usually of one character.
        cell: Height and width in pixels.
        variants: K; the first is centred, regular and of full size.
        font: A TrueType or OpenType file; by default matplotlib's DejaVu Sans.

    Returns:
        (V, K, h, w) float32 in [-1, 1], -1 the paper and +1 the ink.

    Raises:
        UsageError: If the font cannot be read or lacks a glyph, or a cell is too small.
    """
    check_symbols(symbols, cell, variants, font)
    path = font_file(font)
    return torch.stack([_draw_symbol(s, path, cell, variants) for s in symbols])


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
