"""What can be told of a font before anything is drawn, and without torch."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffprobe.foundations.errors import UsageError

MOST_VARIANTS = 10_000


def check_symbols(
    symbols: Sequence[str], cell: tuple[int, int], variants: int, font: str | Path | None = None
) -> None:
    """Check that a font can draw symbols.

    Args:
        symbols: V distinct strings, usually of one character.
        cell: Height and width in pixels.
        variants: K.
        font: A TrueType or OpenType file; by default matplotlib's DejaVu Sans.

    Raises:
        UsageError: If the font cannot be read or lacks a glyph, or a cell is too small.
    """
    if len(set(symbols)) != len(symbols) or not symbols:
        raise UsageError(f"symbols must be distinct and at least one: {list(symbols)}")
    if min(cell) < 3:
        raise UsageError(f"a cell of {cell[0]}×{cell[1]} pixels is too small to draw in")
    if not 1 <= variants <= MOST_VARIANTS:
        raise UsageError(f"variants must be from 1 to {MOST_VARIANTS:,}, not {variants}")
    drawn = "".join(symbols)
    if not font and drawn.isascii() and drawn.isprintable():
        return  # DejaVu Sans has them all: asking it would import matplotlib
    path = font_file(font)
    if not path.is_file():
        raise UsageError(f"no font file at {path}")
    charmap = _charmap(path)
    for character in drawn:
        if ord(character) not in charmap:
            raise UsageError(
                f"{path.name} has no glyph for {character!r} (U+{ord(character):04X}); "
                "choose another symbol, or another font file"
            )


def font_file(font: str | Path | None = None) -> Path:
    """Return the file of a font, by default matplotlib's DejaVu Sans."""
    if font:
        return Path(font)
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@functools.cache
def _charmap(path: Path) -> Mapping[int, int]:
    from matplotlib.ft2font import FT2Font

    try:
        return dict(FT2Font(str(path)).get_charmap())
    except RuntimeError as error:
        raise UsageError(f"{path} is not a font that can be read: {error}") from error
