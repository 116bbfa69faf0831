"""Images that stay in a file and are read a piece at a time, where memory does not hold them."""

import tempfile
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from diffprobe.foundations import memory

# Of what may be worked with: what images may take that are held at once, and a piece of them with
# what is computed from it.
HELD, PIECE = 1 / 8, 1 / 32


class StoredImages:
    """N images that are read as they are asked for, indexed as a tensor (N, C, H, W) is.

    Args:
        shape: N, C, H, W.
        read: Returns images `first` to `last` (not included), (n, C, H, W) float32.
    """

    def __init__(
        self, shape: tuple[int, int, int, int], read: Callable[[int, int], Tensor]
    ) -> None:
        self.shape = torch.Size(shape)
        self._read = read

    def __repr__(self) -> str:
        n, *shape = self.shape
        return f"<{type(self).__name__}: {n:,} images of {' × '.join(map(str, shape))}>"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """4, as of a tensor."""
        return len(self.shape)

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Return an image, those of a slice, or those at the indices (M,) long or true in (N,)."""
        if isinstance(index, int):
            place = range(len(self))[index]
            return self._read(place, place + 1)[0]
        if isinstance(index, Tensor):
            places = index.nonzero()[:, 0] if index.dtype == torch.bool else index
            images = [self[place] for place in places.tolist()]
            return torch.stack(images) if images else torch.empty(0, *self.shape[1:])
        first, last, step = index.indices(len(self))
        return self._read(first, max(first, last))[::step]


class FiledImages(StoredImages):
    """Images in a temporary file of their own, which goes with them; they can be set."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        file = tempfile.TemporaryFile(prefix="diffprobe-")  # noqa: SIM115, it stays open
        each = 4 * int(np.prod(shape[1:]))

        # No method: images that held themselves would outlive their last use.
        def read(first: int, last: int) -> Tensor:
            file.seek(first * each)
            content = bytearray(file.read((last - first) * each))
            values = torch.from_numpy(np.frombuffer(content, np.float32))
            return values.reshape(last - first, *shape[1:])

        super().__init__(shape, read)
        weakref.finalize(self, file.close)
        self._file = file
        self._each = each
        self._file.truncate(len(self) * self._each)

    def __setitem__(self, index: slice, images: Tensor) -> None:
        """Store images where those of a slice are."""
        first, last, _ = index.indices(len(self))
        self._file.seek(first * self._each)
        self._file.write(images.expand(last - first, -1, -1, -1).float().cpu().numpy().tobytes())


# What can be indexed by images: a tensor, or a stand-in for one.
Pictures = Tensor | StoredImages


def room(shape: tuple[int, int, int, int]) -> Tensor | FiledImages:
    """Return zeros for N images, in memory where they fit or else in a temporary file."""
    return torch.zeros(shape) if fits(shape) else FiledImages(shape)


def fits(shape: tuple[int, ...]) -> bool:
    """Return whether images (N, …) of float32 may be held at once."""
    return 4 * int(np.prod(shape, dtype=np.int64)) <= HELD * memory.workable()


def held(images: Pictures, what: str) -> Tensor:
    """Return images as a tensor.

    Args:
        images: N of them.
        what: What needs all at once, for the message.

    Raises:
        MemoryLimitError: If a budget does not allow it.
    """
    if isinstance(images, Tensor):
        return images
    each = 4 * int(np.prod(images.shape[1:]))
    memory.check(len(images) * each, f"{what}, {len(images):,} images at once,")
    return images[:]


def pieces(images: Pictures, beside: float = 0.0) -> Iterator[Tensor]:
    """Yield images in turn, as many as memory may hold with `beside` bytes for each."""
    each = 4 * int(np.prod(images.shape[1:]))
    size = memory.items(4 * each + beside, PIECE)
    for first in range(0, len(images), size):
        yield images[first : first + size]
