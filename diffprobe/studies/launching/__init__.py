"""Where cells are worked on: one after another here, in several processes, or on a cluster.

A launcher is called with jobs, the cells of one run or of several seeds, and yields what came of
each cell as soon as it is known. When it is left early, what it started is stopped, and has been
stored.
"""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from diffprobe.foundations.progress import Progress, silent
from diffprobe.studies.cells import Cell, Outcome, work_on

Jobs = Sequence[Sequence[Cell]]
Launcher = Callable[[Jobs, Path, str], Generator[Outcome]]


def serial(progress: Progress = silent) -> Launcher:
    """Return a launcher that does one cell after another in this process.

    Args:
        progress: For what goes on in a cell, called as tqdm is.
    """

    def launch(jobs: Jobs, store: Path, device: str) -> Generator[Outcome]:
        for job in jobs:
            yield from work_on(job, store, device, progress)

    return launch
