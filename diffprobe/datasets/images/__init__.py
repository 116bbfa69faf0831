"""The images that a configuration can name, one a file: glyphs on a grid of cells."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.symbol_images import SymbolImages


LARGEST = 2**24  # pixels of an image; 64 MiB in float32


class ImagesKind(Kind, ABC):
    """Settings of symbol images.

    Attributes:
        grid: Rows and columns of cells.
        cell: Height and width of a cell in pixels; None where that is known only once it is drawn.
        symbol_channel: Whether one more channel says which symbol each cell holds; see
            `Glyphs.with_symbol_channel`.
    """

    role: ClassVar[str] = "images"
    grid: tuple[int, int]
    cell: tuple[int, int] | None = None
    symbol_channel: bool = False

    def check(self, length: int) -> None:
        """Check, without drawing anything, that words of `length` cells can be drawn.

        Raises:
            UsageError: If they cannot.
        """
        check_grid(self.grid, length)
        if self.cell is not None:
            check_size(self.grid, self.cell)

    def build(self, grammar: "Grammar") -> "SymbolImages":
        """Return images of a grammar's words.

        Raises:
            UsageError: If grammar, glyphs and grid do not fit each other.
        """
        from diffprobe.datasets.symbol_images import SymbolImages

        glyphs = self.glyphs().with_symbol_channel() if self.symbol_channel else self.glyphs()
        return SymbolImages(grammar, glyphs, self.grid)

    @abstractmethod
    def glyphs(self) -> "Glyphs":
        """Return the pictures of the symbols, without a symbol channel.

        Raises:
            UsageError: If they cannot be made.
        """


def check_grid(grid: tuple[int, int], length: int) -> None:
    """Raise UsageError unless a grid of rows and columns holds a word of `length` cells."""
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise UsageError(f"a grid has at least one row and one column, not {rows}×{columns}")
    if rows * columns != length:
        raise UsageError(
            f"a grid of {rows}×{columns} has {rows * columns} cells; "
            f"the grammar's words have {length}"
        )


def check_size(grid: tuple[int, int], cell: tuple[int, int]) -> None:
    """Raise UsageError if a cell is empty, or an image larger than anybody's memory."""
    (rows, columns), (height, width) = grid, cell
    if min(cell) < 1:
        raise UsageError(f"a cell has at least one pixel, not {height}×{width}")
    if (pixels := rows * height * columns * width) > LARGEST:
        raise UsageError(
            f"images of {rows * height:,}×{columns * width:,} pixels are too large: "
            f"{pixels:,} pixels, where {LARGEST:,} are the most"
        )
