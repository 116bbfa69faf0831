"""The images that a configuration can name, one a file: glyphs on a grid of cells."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.symbol_images import SymbolImages


class ImagesKind(Kind, ABC):
    """Settings of symbol images.

    Attributes:
        grid: Rows and columns of cells.
    """

    role: ClassVar[str] = "images"
    grid: tuple[int, int]

    def build(self, grammar: "Grammar") -> "SymbolImages":
        """Return images of a grammar's words.

        Raises:
            UsageError: If grammar, glyphs and grid do not fit each other.
        """
        from diffprobe.datasets.symbol_images import SymbolImages

        return SymbolImages(grammar, self.glyphs(), self.grid)

    @abstractmethod
    def glyphs(self) -> "Glyphs":
        """Return the pictures of the symbols.

        Raises:
            UsageError: If they cannot be made.
        """
