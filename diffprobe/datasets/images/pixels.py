"""The hypercube."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.images import ImagesKind

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs


@dataclass(frozen=True)
class PixelImagesConfig(ImagesKind):
    """One pixel a cell, -1 or +1: the hypercube."""

    name: ClassVar[str] = "pixels"
    cell = (1, 1)
    grid: tuple[int, int] = (1, 8)

    def glyphs(self) -> "Glyphs":
        """Return the two pixels."""
        from diffprobe.datasets.glyphs import Glyphs

        return Glyphs.pixels()
