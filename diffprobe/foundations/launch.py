"""How many processes torchrun started, and which of them this is, as its environment says."""

import os


def processes() -> int:
    """Return how many processes work on the same command; 1 where nothing started several."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this is the process that shows progress and results: the first of all."""
    return processes() == 1 or os.environ["RANK"] == "0"


def tells_errors() -> bool:
    """Whether this is the process that tells what fails alike in all: the first of its host."""
    return processes() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"
