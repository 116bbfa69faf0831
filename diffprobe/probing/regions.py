"""Regions: sets of pixels whose dependence on each other is asked about.

They need not tile the image: what they leave is the *rest*, on whose pixels an output may depend
all the same. They must not overlap, or a pixel would count twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.probing.region_spec import Box, RegionSpec, check_box, check_grid


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """R regions of an image of shape (C, H, W), all channels of a pixel together.

    Attributes:
        masks: (R, C, H, W) bool, disjoint.
        names: R names, such as "cell 3".
        boxes: Top, left, height and width of each region in pixels; None for one that is no box.

    Raises:
        UsageError: If two regions overlap.
    """

    masks: Tensor
    names: tuple[str, ...]
    boxes: tuple[Box | None, ...]

    def __post_init__(self) -> None:
        shared = self.masks.sum(0) > 1
        if shared.any():
            first, second = self.masks[:, shared][:, 0].nonzero()[:2, 0].tolist()
            raise UsageError(
                f"{self._called(first)} and {self._called(second)} overlap: a pixel may belong to "
                "one region only"
            )

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.masks.shape[1:]))
        return f"<Regions of images {shape}: {self.names[0]} … {self.names[-1]}>"

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def parts(self) -> Tensor:
        """(S, C, H, W) bool: the regions and, where they leave any pixel, the rest behind them."""
        rest = ~self.masks.any(0, keepdim=True)
        return torch.cat([self.masks, rest]) if rest.any() else self.masks

    @property
    def part_names(self) -> tuple[str, ...]:
        """S names: those of the regions and, where they leave any pixel, "rest"."""
        return self.names if len(self.parts) == len(self) else (*self.names, "rest")

    @property
    def centres(self) -> Tensor:
        """(R, 2) centre of mass of each region: row and column, in pixels."""
        weight = self.masks[:, 0].double()
        rows, columns = torch.meshgrid(*map(torch.arange, weight.shape[1:]), indexing="ij")
        places = torch.stack([rows, columns], -1).double()
        return torch.einsum("rhw,hwx->rx", weight, places) / weight.sum((1, 2))[:, None]

    @property
    def no_locality(self) -> float:
        """The LDR of outputs that depend on all pixels alike: 1/R where R equal regions tile."""
        pixels = self.masks.flatten(1).sum(1).double()
        return float(pixels.square().sum() / (pixels.sum() * self.masks[0].numel()))

    def index(self, number: int, setting: str = "region") -> int:
        """Return `number` if there is such a region.

        Raises:
            UsageError: If there is not.
        """
        if not 0 <= number < len(self):
            raise UsageError(f"{setting}={number} is outside 0 … {len(self) - 1}")
        return number

    def _called(self, index: int) -> str:
        box = self.boxes[index]
        where = "" if box is None else f" ({', '.join(map(str, box))})"
        return f"{self.names[index]}{where}"

    @classmethod
    def cells(cls, dataset: SymbolImages) -> "Regions":
        """Return one region per cell of a dataset: a partition of the image."""
        rows, columns = dataset.grid
        return cls.grid(dataset.image_shape, rows, columns, "cell")

    @classmethod
    def grid(
        cls, image_shape: tuple[int, int, int], rows: int, columns: int, name: str = "block"
    ) -> "Regions":
        """Cut the image into rows × columns blocks, of sizes as equal as pixels allow.

        Raises:
            UsageError: If a block would be empty.
        """
        _, height, width = image_shape
        check_grid((rows, columns), height, width)
        tops = [round(i * height / rows) for i in range(rows + 1)]
        lefts = [round(i * width / columns) for i in range(columns + 1)]
        boxes = [
            (tops[r], lefts[c], tops[r + 1] - tops[r], lefts[c + 1] - lefts[c])
            for r in range(rows)
            for c in range(columns)
        ]
        return cls.of_boxes(image_shape, boxes, name)

    @classmethod
    def of_boxes(
        cls, image_shape: tuple[int, int, int], boxes: Sequence[Box], name: str = "box"
    ) -> "Regions":
        """Return rectangular regions.

        Raises:
            UsageError: If there is none, or one is empty or leaves the image.
        """
        channels, height, width = image_shape
        if not boxes:
            raise UsageError("there must be at least one region")
        masks = torch.zeros(len(boxes), channels, height, width, dtype=torch.bool)
        for mask, box in zip(masks, boxes, strict=True):
            check_box(box, height, width)
            top, left, tall, wide = box
            mask[:, top : top + tall, left : left + wide] = True
        return cls(masks, tuple(f"{name} {i}" for i in range(len(boxes))), tuple(boxes))

    @classmethod
    def of_picture(cls, image_shape: tuple[int, int, int], path: Path, scale: int = 1) -> "Regions":
        """Return one region for each grey level of a picture except black.

        Args:
            image_shape: C, H, W in the denoiser's own space.
            path: A picture of H·scale × W·scale pixels.
            scale: Pixels of the picture along each side of a pixel of the denoiser.

        Raises:
            UsageError: If the picture cannot be read, has another size, or is all black.
        """
        channels, height, width = image_shape
        try:
            with Image.open(path) as picture:
                levels = np.asarray(picture.convert("L"))
        except FileNotFoundError as error:
            raise UsageError(f"no mask image at {path}") from error
        # A damaged picture reaches any line of its format's reader; a huge one is refused.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(f"{path} cannot be read as an image: {error}") from error
        if levels.shape != (height * scale, width * scale):
            raise UsageError(
                f"the mask {path} has {levels.shape[0]}×{levels.shape[1]} pixels; "
                f"the images have {height * scale}×{width * scale}"
            )
        values = [v for v in np.unique(levels).tolist() if v]
        if not values:
            raise UsageError(f"the mask {path} is all black: there is no region in it")
        blocks = levels.reshape(height, scale, width, scale)
        masks = torch.from_numpy(np.stack([(blocks == v).any((1, 3)) for v in values]))
        return cls(
            masks[:, None].repeat(1, channels, 1, 1),
            tuple(f"grey level {v}" for v in values),
            (None,) * len(values),
        )


def parse_regions(text: str, image_shape: tuple[int, int, int], scale: int = 1) -> Regions:
    """Return the regions that a command line names.

    Args:
        text: `4x4` for a grid; `top,left,height,width` in pixels, several separated by `;`; or the
            path of a mask image, one region for each grey level except black.
        image_shape: C, H, W in the denoiser's own space.
        scale: Pixels along each side of a pixel of the denoiser: 1, or the factor of a latent
            model's autoencoder. A latent belongs to a box that covers any of its pixels.

    Raises:
        UsageError: If it names none.
    """
    spec = RegionSpec.parse(text)
    if spec.grid is not None:
        return Regions.grid(image_shape, *spec.grid)
    if spec.picture is not None:
        return Regions.of_picture(image_shape, spec.picture, scale)
    return Regions.of_boxes(image_shape, [_in_latents(box, scale) for box in spec.boxes])


def _in_latents(box: Box, scale: int) -> Box:
    top, left, tall, wide = box
    if tall < 1 or wide < 1:
        return box  # refused by name where the regions are made
    bottom, right = -(-(top + tall) // scale), -(-(left + wide) // scale)
    first, second = top // scale, left // scale
    return first, second, bottom - first, right - second


def default_regions(images: SymbolImages | ImageSet) -> Regions:
    """Return the cells of a dataset; of images without one, a grid of 4×4 blocks."""
    if isinstance(images, SymbolImages):
        return Regions.cells(images)
    _, height, width = images.image_shape
    return Regions.grid(images.image_shape, min(4, height), min(4, width))
