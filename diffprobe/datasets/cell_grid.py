"""The grid of cells that an image is divided into."""

from dataclasses import dataclass

from einops import rearrange, repeat
from torch import Tensor

from diffprobe.foundations.errors import UsageError


@dataclass(frozen=True)
class CellGrid:
    """Cells of equal size that tile an image, row by row.

    Attributes:
        rows, columns: How many cells there are in each direction.
        height, width: Of a cell, in pixels.
    """

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, image_shape: tuple[int, int, int], grid: tuple[int, int]) -> "CellGrid":
        """Divide an image of `image_shape` (C, H, W) into `grid` rows and columns.

        Raises:
            UsageError: If rows and columns do not divide the image.
        """
        (_, height, width), (rows, columns) = image_shape, grid
        if rows < 1 or columns < 1 or height % rows or width % columns:
            raise UsageError(
                f"a grid of {rows}×{columns} cells does not divide an image of {height}×{width}"
            )
        return cls(rows, columns, height // rows, width // columns)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return self.rows * self.columns

    def join(self, cells: Tensor) -> Tensor:
        """Lay `cells (N, L, C, h, w)` side by side: (N, C, H, W)."""
        return rearrange(cells, "n (r k) c h w -> n c (r h) (k w)", r=self.rows, k=self.columns)

    def cut(self, images: Tensor) -> Tensor:
        """Cut `images (N, C, H, W)` into cells: (N, L, C, h, w)."""
        return rearrange(images, "n c (r h) (k w) -> n (r k) c h w", r=self.rows, k=self.columns)

    def spread(self, values: Tensor) -> Tensor:
        """Give each pixel its cell's value: (N, L) -> (N, 1, H, W)."""
        return repeat(
            values,
            "n (r k) -> n 1 (r h) (k w)",
            r=self.rows,
            k=self.columns,
            h=self.height,
            w=self.width,
        )
