"""How freed memory is kept."""

import ctypes
import sys

# The parameters of glibc's mallopt, as malloc.h numbers them.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
# glibc takes no larger ones of its second parameter.
LARGEST_KEPT = 32 * 2**20
MOST_KEPT = 2**30


def keep_freed_memory() -> None:
    """Let the next step of a loop take the memory that this one freed.

    By default glibc gives tensors of some MiB back to the system as they are freed, and every page
    of the next ones is mapped anew and filled with zeros. Other allocators are left alone.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
