"""Arrays of images as people keep them, brought to (N, C, H, W) floats in [-1, 1].

What the values mean is told by their type, and for floats by the typical image: the median over the
images of their smallest and of their largest value, so that a few broken images do not matter.

    bytes, and other integers up to 255    [0, 255], or [0, 1] where there is nothing but 0 and 1
    uint16                                 [0, 65535] where a value exceeds 255
    floats, smallest below -0.25           [-1, 1]
    floats, largest up to 0.5              [-1, 1], said to be ambiguous
    floats, largest up to 16               [0, 1]
    other floats                           [0, 255]
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from diffprobe.datasets.array_files import ArrayFile, read_rows, rows_of
from diffprobe.datasets.stored_images import PIECE, Pictures, StoredImages
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError

LEAST_BLACK = -0.25  # an image in [0, 1] seldom falls below, one in [-1, 1] seldom does not
LEAST_INK = 0.5
MOST_INK = 16.0  # between what leaves [0, 1] a little and [0, 255]
SLACK = 0.05


def as_images(
    values: Any, image_shape: tuple[int, int, int] | None = None, source: str = ""
) -> tuple[Tensor, tuple[str, ...]]:
    """Return images as floats in [-1, 1], and what had to be decided, in sentences.

    Args:
        values: A tensor or array: (N, C, H, W), (N, H, W, C) or (N, H, W) of floats, integers or
            booleans. Grey images may have three equal channels.
        image_shape: C, H, W that they must have; by default what they have.
        source: Where they come from, for messages.

    Returns:
        (N, C, H, W) float32 on the device of `values`, and sentences.

    Raises:
        UsageError: If they have another shape, or are no numbers that images are made of.
    """
    prefix = f"{source}: " if source else ""
    tensor, layout = _laid_out(_tensor(values, prefix), image_shape, prefix)
    if tensor.numel() == 0:
        return tensor.float(), layout
    scaled, scale = _scale([tensor], prefix)
    return scaled(tensor), (*layout, scale)


def stored_images(
    array: ArrayFile, image_shape: tuple[int, int, int] | None, source: str, *, as_they_are: bool
) -> tuple[StoredImages, tuple[str, ...]]:
    """Return the images of an array that stays in its file, read as `as_images` does.

    Args:
        array: Of images as people keep them.
        image_shape: C, H, W that they must have; by default what they have.
        source: Where they come from, for messages.
        as_they_are: Whether the values are in [-1, 1], as our samplers leave them.

    Raises:
        UsageError: As `as_images` does.
    """
    prefix, n = f"{source}: ", array.shape[0]

    def laid_out(rows: Any, first: int) -> tuple[Tensor, tuple[str, ...]]:
        return _laid_out(_tensor(rows, prefix), image_shape, prefix, first, n)

    one, layout = laid_out(read_rows(array, 0, 1), 0)
    shape = n, *one.shape[1:]
    size = memory.items(32 * one.numel(), PIECE)
    every = (laid_out(rows, first)[0] for first, rows in rows_of(array, size))
    scaled, told = (_as_it_is, "") if as_they_are else _scale(every, prefix)
    read = StoredImages(
        shape,
        lambda first, last: scaled(laid_out(read_rows(array, first, last), first)[0]),
    )
    return read, (*layout, *([told] if told else []))


def check_shape(
    images: Pictures,
    image_shape: tuple[int, int, int],
    prefix: str = "",
    given: tuple[int, ...] | None = None,
) -> None:
    """Raise UsageError unless `images` is (N, C, H, W) of that shape; `given` is what to name."""
    if images.ndim != 4 or tuple(images.shape[1:]) != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise UsageError(
            f"{prefix}images have shape {given or tuple(images.shape)}; "
            f"this dataset's are (N, {expected})"
        )


def _tensor(values: Any, prefix: str) -> Tensor:
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise UsageError(f"{prefix}images of {array.dtype} are no numbers")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)  # torch computes with no others without a sign
        elif array.dtype.itemsize > 8:
            array = array.astype(np.float64)  # nor with longer ones
        # A copy in the machine's own order of bytes, whatever the strides were.
        values = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    if values.is_complex():
        raise UsageError(f"{prefix}images of {values.dtype} are no numbers")
    found: Tensor = values.detach()
    return found


def _laid_out(
    x: Tensor,
    image_shape: tuple[int, int, int] | None,
    prefix: str,
    first: int = 0,
    n: int | None = None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return (N, C, H, W), and what was changed; of a piece, where of `n` images it begins."""
    given, notes = (len(x) if n is None else n, *x.shape[1:]) if x.ndim else (), list[str]()
    if x.ndim == 3:
        x = x[None] if given == image_shape and given[0] > 1 else x[:, None]
    if x.ndim == 4 and _channels_last(x, image_shape):
        x = rearrange(x, "n h w c -> n c h w")
        notes.append(f"Of the array {_times(given)} the last axis was taken for the channels.")
    if image_shape is None:
        if x.ndim != 4:
            raise UsageError(f"{prefix}images have shape {given}; they must be (N, C, H, W)")
        return x, tuple(notes)
    if x.ndim == 4 and x.shape[2:] == image_shape[1:] and x.shape[1] != image_shape[0]:
        x = _channels(x, image_shape[0], prefix, notes, first)
    check_shape(x, image_shape, prefix, given)
    return x, tuple(notes)


def _channels_last(x: Tensor, image_shape: tuple[int, int, int] | None) -> bool:
    """Whether (N, H, W, C) is what was given."""
    _, *shape = x.shape
    if image_shape is None:
        return shape[2] in (1, 3) and shape[0] not in (1, 3)
    return tuple(shape[:2]) == image_shape[1:] and shape[2] in (1, 3) and (*shape,) != image_shape


def _channels(x: Tensor, channels: int, prefix: str, notes: list[str], begin: int) -> Tensor:
    """Return grey images with the channels asked for."""
    if x.shape[1] == 3 and channels == 1:
        same = (x == x[:, :1]) | (x != x)
        if not same.all():
            first = begin + int((~same).flatten(1).any(1).nonzero()[0])
            raise UsageError(
                f"{prefix}images have 3 channels that differ (image {first} is the first such); "
                "this dataset's have 1"
            )
        notes.append("Three equal channels were read as grey.")
        return x[:, :1]
    if x.shape[1] == 1 and channels == 3:
        notes.append("Grey images were read as three equal channels.")
        return x.expand(-1, 3, -1, -1)
    return x


# From images as they are stored to [-1, 1].
Scaling = Callable[[Tensor], Tensor]


def _scale(parts: Iterable[Tensor], prefix: str) -> tuple[Scaling, str]:
    """Return how values become [-1, 1], and how they were read; `parts` are all images."""
    lows, highs = [], []
    for x in parts:
        if x.dtype == torch.bool:
            read = "The images were read as yes and no: -1 and 1."
            return lambda x: x.float() * 2 - 1, read
        whole = not x.is_floating_point()
        flat = x.flatten(1) if whole else x.float().flatten(1)
        flat = flat if whole else flat[flat.isfinite().all(1)]
        lows.append(flat.amin(1))
        highs.append(flat.amax(1))
    low, high = torch.cat(lows), torch.cat(highs)
    if whole:
        return _integers(int(low.min()), int(high.max()), prefix)
    # Medians over the finite images of their smallest and largest values.
    return _floats(*map(float, (low.median(), high.median())) if len(low) else (-1.0, 1.0))


def _floats(low: float, high: float) -> tuple[Scaling, str]:
    runs = f"the typical one runs from {low:g} to {high:g}"
    if low < LEAST_BLACK or high <= LEAST_INK:
        read = f"The images were read as floats in [-1, 1]: {runs}"
        if low < -SLACK:
            return _as_it_is, f"{read}."
        said = f"{read}. That fits [0, 1], too: if they are, give 2 x - 1 instead."
        return _as_it_is, said
    if high <= MOST_INK:
        read = f"The images were read as floats in [0, 1]: {runs}"
        if not (low >= -SLACK and high <= 1 + SLACK):
            read = f"{read}, which is not quite [0, 1]: see whether that is right"
        return lambda x: x.float() * 2 - 1, f"{read}."
    said = f"The images were read as floats in [0, 255]: {runs}."
    return lambda x: x.float() / 127.5 - 1, said


def _integers(low: int, high: int, prefix: str) -> tuple[Scaling, str]:
    if low < -1 or high > 65535 or (low < 0 and high > 1):
        raise UsageError(
            f"{prefix}integers from {low:,} to {high:,} are no images: they may be bytes "
            "(0 to 255), 16 bits (0 to 65535), or 0 and 1"
        )
    if low < 0:
        return _as_it_is, "The images were read as integers in [-1, 1]."
    if high <= 1:
        said = "There is nothing but 0 and 1 in the images: they were read as [0, 1], not bytes."
        return lambda x: x.float() * 2 - 1, said
    top = 255 if high <= 255 else 65535
    said = f"The images were read as integers from 0 to {top}."
    return lambda x: x.float() * (2 / top) - 1, said


def _as_it_is(x: Tensor) -> Tensor:
    return x.float()


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
