"""Images of which no grammar is known."""

from pathlib import Path

import numpy as np
import torch
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
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
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
