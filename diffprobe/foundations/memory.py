"""How much memory was held, and how much may be.

Whatever goes in chunks follows one rule: bytes of an item × items at once ≤ a share of what there
is to work with. That is the budget less what Python and its libraries take, or as much as suits a
processor's caches where that is less. Chunks change the last digits of a result at most.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from diffprobe.foundations.errors import MemoryLimitError, UsageError

MIB, GIB = 2**20, 2**30
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": MIB, "GIB": GIB, "TIB": 2**40}
# What a process holds before it works: Python, torch, diffusers, matplotlib.
LIBRARIES = 700 * MIB
# What is worked with where no budget is set; more makes no chunk quicker.
USUAL = 4 * GIB
# The least that a budget may leave to work with.
LEAST = 64 * MIB

_budget: ContextVar[int | None] = ContextVar("budget", default=None)


def parse(text: str) -> int:
    """Return the bytes of a size such as 4GiB or 500 MB.

    Raises:
        UsageError: If it is none.

    >>> parse("4GiB"), parse("1.5 gb")
    (4294967296, 1500000000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)\s*", text)
    if match is None or match[2].upper() not in UNITS:
        raise UsageError(f"{text!r} is no size of memory: give a number and a unit, such as 4GiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def spelled(size: float) -> str:
    """Return bytes in words.

    >>> spelled(851443712), spelled(4.25 * 2**30)
    ('812 MiB', '4.2 GiB')
    """
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{max(1, round(size / MIB)):,} MiB"


@contextmanager
def limited(size: int | None) -> Iterator[None]:
    """Hold no more than `size` bytes within; None sets no budget.

    Raises:
        MemoryLimitError: If the libraries alone take that much.
    """
    if size is not None and size < LIBRARIES + LEAST:
        raise MemoryLimitError(
            f"a budget of {spelled(size)} is too small: Python and its libraries take "
            f"{spelled(LIBRARIES)}; give at least {spelled(LIBRARIES + LEAST)}"
        )
    token = _budget.set(size)
    try:
        yield
    finally:
        _budget.reset(token)


def budget() -> int | None:
    """Return the bytes that the process may hold; None without a budget."""
    return _budget.get()


def workable() -> int:
    """Return the bytes that may be worked with."""
    size = budget()
    return USUAL if size is None else min(USUAL, size - LIBRARIES)


def items(each: float, share: float) -> int:
    """Return how many items of `each` bytes a share of the memory holds, at least one.

    >>> items(2**20, 1 / 64)
    64
    """
    return max(1, int(share * workable() / max(1.0, each)))


def usual_items(each: float, share: float) -> int:
    """Return the same whatever the budget: for what draws, chunks decide what is drawn."""
    return max(1, int(share * USUAL / max(1.0, each)))


def room_for(each: float, share: float, what: str) -> int:
    """Return as many items as `items`, where one may be too much for a budget.

    Raises:
        MemoryLimitError: If it is; the message says what would be enough.
    """
    size = budget()
    if size is not None and each > share * (size - LIBRARIES):
        raise MemoryLimitError(
            f"{what} takes {spelled(each)}, and of --memory {spelled(size)} there are "
            f"{spelled(share * (size - LIBRARIES))} for it: give at least "
            f"{_enough(LIBRARIES + each / share)}"
        )
    return items(each, share)


def check(needed: float, what: str) -> None:
    """Raise MemoryLimitError where `needed` bytes beside the libraries are beyond the budget."""
    size = budget()
    if size is not None and LIBRARIES + needed > size:
        raise MemoryLimitError(
            f"{what} takes about {spelled(LIBRARIES + needed)}, and --memory allows "
            f"{spelled(size)}: give at least {_enough(LIBRARIES + needed)}"
        )


def peak() -> int:
    """Return the most memory that the process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: it counts what the parent held when this process was made.
        return 2**10 * int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text("ascii"))[0])
    if os.name == "nt":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    scale = 1 if sys.platform == "darwin" else 2**10
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peaks() -> dict[str, int]:
    """Return the most bytes held: "process" and, where a GPU was used, "gpu"."""
    found = {"process": peak()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        devices = range(torch.cuda.device_count())
        found["gpu"] = max(torch.cuda.max_memory_reserved(device) for device in devices)
    return found


def _enough(size: float) -> str:
    """A size rounded up, as --memory takes it."""
    return f"{-(-int(size) // MIB)}MiB" if size < 10 * GIB else f"{-(-int(size) // GIB)}GiB"
