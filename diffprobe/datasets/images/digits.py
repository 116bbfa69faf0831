"""Handwritten digits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffprobe.datasets.images import ImagesKind

if TYPE_CHECKING:
    from diffprobe.datasets.glyphs import Glyphs


@dataclass(frozen=True)
class DigitImagesConfig(ImagesKind):
    """Handwritten digits, 8×8 pixels each."""

    name: ClassVar[str] = "digits"
    cell = (8, 8)
    grid: tuple[int, int] = (2, 2)
    split: Literal["train", "held-out"] = "train"
    symbol_channel: bool = False

    def glyphs(self) -> "Glyphs":
        """Load the digits."""
        from diffprobe.datasets.glyphs import Glyphs

        return Glyphs.digits(self.split)
