"""Symbols of two attributes: a shape and a colour."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.font_files import check_symbols
from diffprobe.datasets.images import ImagesKind
from diffprobe.foundations.errors import UsageError

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs


@dataclass(frozen=True)
class ColouredImagesConfig(ImagesKind):
    """Each symbol a shape in a font and a colour, on black; three channels.

    `shapes` holds one character each and `colours` names as matplotlib has them: symbol
    `s * len(colours) + c` is shape s in colour c. With `blank` symbol 0 is an empty cell, and these
    follow it. `cell` is height, width.
    """

    name: ClassVar[str] = "coloured"
    shapes: str = "■"
    colours: tuple[str, ...] = ("red", "blue")
    grid: tuple[int, int] = (1, 6)
    cell: tuple[int, int] = (8, 8)
    font: str = ""
    blank: bool = False
    symbol_channel: bool = False

    def __post_init__(self) -> None:
        if not self.colours or len(set(self.colours)) != len(self.colours):
            raise UsageError(
                f"images.colours must be distinct and at least one: {list(self.colours)}"
            )

    def check(self, length: int) -> None:
        """Check the font and the shapes too; see `ImagesKind.check`."""
        super().check(length)
        check_symbols(self.shapes, self.cell, 1, self.font or None)

    def glyphs(self) -> "Glyphs":
        """Draw the shapes in their colours."""
        from diffprobe.datasets.glyphs import Glyphs

        font = self.font or None
        return Glyphs.coloured(self.shapes, self.colours, self.cell, font, blank=self.blank)
