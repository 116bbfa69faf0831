"""Images of which no grammar is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from diffprobe.foundations.errors import UsageError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class ImageSet:
    """A finite set of images to take a probe's inputs from.

    Args:
        images: (M, C, H, W) float, in the denoiser's own space.
        source: What they are, for the records: a folder's name, "the model's own samples".

    Raises:
        UsageError: If there are none, or a value is not finite.
    """

    def __init__(self, images: Tensor, source: str) -> None:
        if images.ndim != 4 or len(images) == 0 or not images.is_floating_point():
            raise UsageError(
                f"images must be (M, C, H, W) floats, at least one; got {images.dtype} of shape "
                f"{tuple(images.shape)}"
            )
        if not images.isfinite().all():
            raise UsageError(f"{source}: an image holds values that are not finite")
        self.images = images
        self.source = source

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        return f"<ImageSet of {n:,} images, {' × '.join(map(str, shape))}: {self.source}>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def draw_images(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` images: without replacement as long as they last, then from the start again."""
        return self.images[self.draw_sources(n, generator)]

    def draw_sources(self, n: int, generator: torch.Generator) -> Tensor:
        """Return which images `draw_images` draws: (n,) long."""
        rounds = -(-n // len(self.images))
        order = [torch.randperm(len(self.images), generator=generator) for _ in range(rounds)]
        return torch.cat(order)[:n]


def read_images(folder: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """Read every picture of a folder, scaled to fill the shape and cut at its centre.

    Args:
        folder: Holds PNG, JPEG, WebP, BMP or TIFF files.
        image_shape: C (1 or 3), H, W.

    Returns:
        (M, C, H, W) float32 in [-1, 1], in the order of the files' names.

    Raises:
        UsageError: If the folder is missing or holds no picture, or one cannot be read.
    """
    channels, height, width = image_shape
    if not folder.is_dir():
        raise UsageError(f"no folder of images at {folder}")
    if channels not in (1, 3):
        raise UsageError(f"pictures have 1 or 3 channels; the model takes {channels}")
    paths = list_pictures(folder)
    if not paths:
        raise UsageError(f"{folder} holds no pictures ({' '.join(ENDINGS)})")
    pictures = np.empty((len(paths), channels, height, width), np.float32)
    for row, path in zip(pictures, paths, strict=True):
        try:
            with Image.open(path) as picture:
                shown = picture.convert("L" if channels == 1 else "RGB")
                fitted = ImageOps.fit(shown, (width, height), Image.Resampling.LANCZOS)
        except (OSError, UnidentifiedImageError) as error:
            raise UsageError(f"{path} cannot be read as an image: {error}") from error
        row[:] = np.asarray(fitted, np.float32).reshape(height, width, channels).transpose(2, 0, 1)
    return torch.from_numpy(pictures / 127.5 - 1)


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder, in the order of their names."""
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith(".")
    )


def read_exactly(
    paths: Sequence[Path], image_shape: tuple[int, int, int] | None = None
) -> NDArray[np.uint8]:
    """Read pictures as they are: none is scaled or cut.

    Args:
        paths: PNG, JPEG, WebP, BMP or TIFF files, at least one.
        image_shape: C (1 or 3), H, W that all must have; by default the first one's. A picture of
            three equal channels is grey, and a grey one has three equal channels.

    Returns:
        (M, C, H, W) bytes; 16 bits are rounded to 8.

    Raises:
        UsageError: If one cannot be read or has another shape, naming it.
    """
    pictures = [_pixels(path) for path in paths]
    shape = image_shape
    if shape is None:
        grey = all(picture.shape[0] == 1 for picture in pictures)
        shape = (1 if grey else 3, *pictures[0].shape[1:])
    for i, (path, picture) in enumerate(zip(paths, pictures, strict=True)):
        if picture.shape[0] != shape[0] and picture.shape[1:] == shape[1:]:
            if shape[0] == 3:
                pictures[i] = picture.repeat(3, 0)
            elif (picture == picture[:1]).all():
                pictures[i] = picture[:1]
        if pictures[i].shape != shape:
            expected = "this dataset's" if image_shape else f"those of {paths[0]}"
            raise UsageError(f"{path} is {_size(picture.shape)}; {expected} are {_size(shape)}")
    return np.stack(pictures)


def _pixels(path: Path) -> NDArray[np.uint8]:
    """One picture: (1 or 3, H, W)."""
    try:
        with Image.open(path) as picture:
            if picture.mode == "F":
                raise UsageError(f"{path} holds floats of unknown scale; give a .npy of them")
            if picture.mode.startswith("I"):
                deep = np.asarray(picture, np.float64)
                return np.round(deep / 257).clip(0, 255).astype(np.uint8)[None]
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            if transparent and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                raise UsageError(f"{path} is transparent in part; put it on a background first")
            grey = picture.mode in ("1", "L", "LA")
            values = np.asarray(picture.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} cannot be read as an image: {error}") from error
    return values[None] if grey else values.transpose(2, 0, 1)


def _size(shape: tuple[Any, ...]) -> str:
    channels, height, width = shape
    return f"{height} × {width} (H × W), {'grey' if channels == 1 else f'{channels} channels'}"
