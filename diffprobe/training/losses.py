"""The loss of every step: float32, little-endian, one after another."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffprobe.foundations.atomic import atomic_file

LOSS = np.dtype("<f4")

logger = logging.getLogger("diffprobe")


def encode(losses: Sequence[float]) -> bytes:
    """Return losses as they are stored."""
    return np.array(losses, LOSS).tobytes()


def read(path: Path) -> NDArray[np.float32]:
    """Return the losses in a file; what is left of one at its end is none."""
    content = path.read_bytes() if path.exists() else b""
    return np.frombuffer(content[: len(content) // LOSS.itemsize * LOSS.itemsize], LOSS)


def cut(path: Path, n: int) -> None:
    """Keep the first `n` losses of a file; those that are not there are not numbers."""
    losses = np.full(n, np.nan, LOSS)
    there = read(path)[:n]
    losses[: len(there)] = there
    if missing := n - len(there):
        # After a crash of the machine some may never have reached the disk.
        logger.warning(
            "%s lacks the losses of the last %s of %s steps; they are not numbers there",
            path,
            f"{missing:,}",
            f"{n:,}",
        )
    with atomic_file(path) as partial:
        partial.write_bytes(losses.tobytes())
