import subprocess
import sys

import pytest

# Three blocks at once, given back, again and again; prints how many pages were mapped.
SCRIPT = """
import resource, sys
from diffprobe.foundations.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def once():
    blocks = [bytearray(b"1") * (24 * 2**20) for _ in range(3)]
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_freed_memory_is_taken_again() -> None:
    assert faults("kept") < faults("given back") / 10
