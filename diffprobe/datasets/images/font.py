"""Symbols drawn in a font."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.font_files import check_symbols
from diffprobe.datasets.images import ImagesKind

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs


@dataclass(frozen=True)
class FontImagesConfig(ImagesKind):
    """Symbols drawn in a font; `symbols` holds one character each, `cell` is height, width."""

    name: ClassVar[str] = "font"
    symbols: str = "01"
    grid: tuple[int, int] = (1, 6)
    cell: tuple[int, int] = (8, 8)
    variants: int = 1
    font: str = ""
    symbol_channel: bool = False

    def check(self, length: int) -> None:
        """Check the font and the symbols too; see `ImagesKind.check`."""
        super().check(length)
        check_symbols(self.symbols, self.cell, self.variants, self.font or None)

    def glyphs(self) -> "Glyphs":
        """Draw the symbols."""
        from diffprobe.datasets.glyphs import Glyphs

        return Glyphs.font(self.symbols, self.cell, self.variants, self.font or None)
