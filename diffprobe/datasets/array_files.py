"""Arrays in `.npy` and `.npz` files that are too large to hold: where their values begin."""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as array_format

from diffprobe.datasets.stored_images import fits

COPIED = 2**24  # bytes of an archive unpacked at once


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file that stays open as long as this is there.

    Attributes:
        file: Holds it.
        offset: Where in it the values begin, in bytes.
        shape: Of the array.
        dtype: Of its values.
    """

    file: IO[bytes]
    offset: int
    shape: tuple[int, ...]
    dtype: Any

    def __post_init__(self) -> None:
        weakref.finalize(self, self.file.close)


def open_large(path: Path) -> ArrayFile | None:
    """Return the array of images in a file if it is too large to hold; None if it is not.

    None as well where a file is damaged or holds no such array: reading it says what is wrong. An
    archive's array is unpacked into a temporary file, so that any part of it can be read.
    """
    # On damage the libraries fail in a dozen ways.
    with contextlib.suppress(Exception), contextlib.ExitStack() as unless_it_is_kept:
        file = unless_it_is_kept.enter_context(path.open("rb"))
        found = _in_file(file)
        if found is not None and found.file is file:
            unless_it_is_kept.pop_all()
        return found
    return None


def _in_file(file: IO[bytes]) -> ArrayFile | None:
    if file.read(2) != b"PK":
        file.seek(0)
        found = _header(file)
        end = file.seek(0, 2)
        return found if found and end >= found.offset + _size(found) else None
    with ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name != "sampler.npy"]
        name = "images.npy" if "images.npy" in names else names[0]
        with archive.open(name) as member:
            found = _header(member)
            if found is None:
                return None
            with contextlib.ExitStack() as until_it_is_whole:
                unpacked = until_it_is_whole.enter_context(
                    tempfile.TemporaryFile(prefix="diffprobe-")
                )
                shutil.copyfileobj(member, unpacked, COPIED)
                if unpacked.tell() != _size(found):
                    return None
                until_it_is_whole.pop_all()
    return ArrayFile(unpacked, 0, found.shape, found.dtype)


def _header(file: IO[bytes]) -> ArrayFile | None:
    """What the header says, if it is of a large array that can be read row by row."""
    read = {
        (1, 0): array_format.read_array_header_1_0,
        (2, 0): array_format.read_array_header_2_0,
    }[array_format.read_magic(file)]
    shape, by_columns, dtype = read(file)
    if by_columns or dtype.kind not in "fiub" or len(shape) < 3 or fits(shape):
        return None
    return ArrayFile(file, file.tell(), shape, dtype)


def _size(found: ArrayFile) -> int:
    return int(found.dtype.itemsize * np.prod(found.shape, dtype=np.int64))


def rows_of(found: ArrayFile, size: int) -> Iterator[tuple[int, Any]]:
    """Yield pieces of the array, each `size` rows, and where they begin."""
    for first in range(0, found.shape[0], size):
        yield first, read_rows(found, first, min(first + size, found.shape[0]))


def read_rows(found: ArrayFile, first: int, last: int) -> Any:
    """Return rows of the array, (last - first, …)."""
    each = _size(found) // found.shape[0]
    found.file.seek(found.offset + first * each)
    content = bytearray(found.file.read((last - first) * each))
    return np.frombuffer(content, found.dtype).reshape(last - first, *found.shape[1:])
