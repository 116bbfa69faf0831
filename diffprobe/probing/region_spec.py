"""Regions as a command line names them, read without torch and without opening a picture.

4x4                             a grid of rows and columns
0,0,8,8; 0,8,8,8                boxes: top, left, height, width in pixels
mask.png                        a picture, one region for each grey level except black
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffprobe.foundations.errors import UsageError

Box = tuple[int, int, int, int]  # top, left, height, width

# Regions have masks of the image's size, in memory; a reverse pass each.
MOST_REGIONS = 65_536


@dataclass(frozen=True)
class RegionSpec:
    """What `--regions` says: one of three.

    Attributes:
        grid: Rows and columns.
        boxes: Rectangles in pixels.
        picture: The path of a mask image.
    """

    grid: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()
    picture: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "RegionSpec":
        """Read a text.

        Raises:
            UsageError: If it names no regions, or a picture that is not there.
        """
        if match := re.fullmatch(r"(\d{1,9})\s*[x×]\s*(\d{1,9})", text.strip()):
            return cls(grid=(int(match[1]), int(match[2])))
        if re.fullmatch(r"[\d\s,;-]+", text):
            boxes = tuple(_box(part) for p in text.split(";") if (part := p.strip()))
            if not boxes:
                raise UsageError("there must be at least one region")
            return cls(boxes=boxes)
        if not text or not Path(text).is_file():
            raise UsageError(
                f"no mask image at {text}; regions are a grid (4x4), boxes "
                "(top,left,height,width;…) in pixels, or a mask image"
            )
        return cls(picture=Path(text))

    @property
    def regions(self) -> int | None:
        """How many there are; None where only the picture tells."""
        if self.picture is not None:
            return None
        return self.grid[0] * self.grid[1] if self.grid is not None else len(self.boxes)

    def check(self, height: int, width: int) -> None:
        """Raise UsageError unless they fit an image of `height` × `width` pixels."""
        if self.grid is not None:
            check_grid(self.grid, height, width)
        for box in self.boxes:
            check_box(box, height, width)


def check_grid(grid: tuple[int, int], height: int, width: int) -> None:
    """Raise UsageError if a block of a grid would be empty, or there are too many."""
    rows, columns = grid
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise UsageError(
            f"a grid of {rows}×{columns} regions does not fit an image of {height}×{width}"
        )
    if rows * columns > MOST_REGIONS:
        raise UsageError(f"{rows * columns:,} regions are too many: at most {MOST_REGIONS:,}")


def check_box(box: Sequence[int], height: int, width: int) -> None:
    """Raise UsageError if a rectangle is empty, or leaves the image."""
    top, left, tall, wide = box
    if tall < 1 or wide < 1:
        raise UsageError(f"the region {top},{left},{tall},{wide} is empty")
    if top < 0 or left < 0 or top + tall > height or left + wide > width:
        raise UsageError(
            f"the region {top},{left},{tall},{wide} (top, left, height, width) leaves the "
            f"image of {height}×{width}"
        )


def _box(part: str) -> Box:
    numbers = [int(n) for n in part.split(",") if re.fullmatch(r"\s*-?\d{1,9}\s*", n)]
    if len(numbers) != 4 or part.count(",") != 3:
        raise UsageError(f"a region is top,left,height,width in pixels, not {part!r}")
    return numbers[0], numbers[1], numbers[2], numbers[3]
