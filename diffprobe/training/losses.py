"""The loss of every step: float32, little-endian, one after another.

Each line of metrics has the number and a checksum of the losses since the line before.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffprobe.foundations.atomic import atomic_file

LOSS = np.dtype("<f4")
MISSING = 0x7FC00000  # the bits of the NaN that stands for a loss that is not there

logger = logging.getLogger("diffprobe")


def encode(losses: Sequence[float]) -> bytes:
    """Return losses as they are stored."""
    return np.array(losses, LOSS).tobytes()


def read(path: Path) -> NDArray[np.float32]:
    """Return the losses in a file; what is left of one at its end is none."""
    content = path.read_bytes() if path.exists() else b""
    return np.frombuffer(content[: len(content) // LOSS.itemsize * LOSS.itemsize], LOSS)


def seal(losses: Sequence[float]) -> dict[str, Any]:
    """Return what a line of metrics says of the losses since the line before.

    >>> seal([1.0, 0.5])
    {'n': 2, 'crc32': 'ee85c9db'}
    """
    return {"n": len(losses), "crc32": _crc(encode(losses))}


def damaged(
    losses: NDArray[np.float32], lines: Sequence[Mapping[str, Any]], first: int
) -> list[slice]:
    """Return where losses are not as they were written.

    Args:
        losses: (N,); those that are known to be missing are not numbers, and no damage.
        lines: Of metrics.
        first: The step at which training began.
    """
    found = []
    for line in lines:
        end = line["step"] - first
        n = line.get("losses", {}).get("n", 0)  # of a run from before there were any
        block = slice(max(0, end - n), end)
        there = losses[block]
        missing = len(there) < n or (there.view("<u4") == MISSING).any()
        if n and not missing and _crc(there.tobytes()) != line["losses"]["crc32"]:
            found.append(block)
    return found


def _crc(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def keep(path: Path, known: NDArray[np.float32], n: int) -> None:
    """Write the first `n` losses of those `known`; what is not there is not a number."""
    losses = np.full(n, np.nan, LOSS)
    there = known[:n]
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
