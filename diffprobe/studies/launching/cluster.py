"""Cells as jobs of a cluster, through submitit: Slurm, or `local`, which behaves like it here.

A job that is preempted or runs into its time limit saves its training and is put into the queue
again. A job is cancelled where the study is stopped, and has saved; the same command goes on.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import (
    DiffprobeError,
    FullDiskError,
    StoppedError,
    UsageError,
    first_line,
    unknown_name,
)
from diffprobe.foundations.signals import exit_code, raised_signals
from diffprobe.studies.cells import Cell, Outcome, stored, work_on
from diffprobe.studies.launching import Jobs, Launcher

CLUSTERS = ("slurm", "local")
EVERY = 0.5  # seconds between two looks at the jobs
ASKED = 15.0  # seconds between two questions to Slurm's queue
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "TIMEOUT",
)
USUAL = {"timeout_min": 24 * 60, "cpus_per_task": 1, "name": "diffprobe"}


def cluster(name: str, folder: Path, options: Mapping[str, Any]) -> Launcher:
    """Return a launcher that submits jobs.

    Args:
        name: One of `CLUSTERS`.
        folder: Where submitit keeps what the jobs print.
        options: Of submitit, such as slurm_partition, timeout_min or gpus_per_node.

    Raises:
        UsageError: If submitit is not installed, or there is no such cluster here; when launched,
            if it has no such option.
    """
    if name not in CLUSTERS:
        raise unknown_name("cluster", name, CLUSTERS)
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--cluster needs submitit, which is not installed: pip install 'diffprobe[cluster]'"
        ) from error
    if name == "slurm" and shutil.which("sbatch") is None:
        raise UsageError(
            "there is no Slurm here: sbatch is not on the PATH. Start the study where jobs are "
            "submitted, or use --workers N"
        )

    def launch(jobs: Jobs, store: Path, device: str) -> Generator[Outcome]:
        executor = _executor(name, folder, options)
        going = []
        try:
            for job in jobs:
                task = CellTask(list(job), store.resolve(), device)
                going.append((_submit(executor, task), list(job)))
            lost = _Lost(name)
            while going:
                gone = lost.jobs()
                for each in list(going):
                    submitted, cells = each
                    if submitted.done():
                        going.remove(each)
                        yield from _collect(submitted, cells, store)
                    elif (state := gone.get(submitted.job_id)) is not None:
                        going.remove(each)
                        told = f"job {submitted.job_id} ended without a result: {state}"
                        yield from _without(cells, store, told)
                time.sleep(EVERY if going else 0)
        finally:
            for submitted, _ in going:
                submitted.cancel()

    return launch


class CellTask:
    """The cells of one run, as a cluster is given them."""

    def __init__(self, cells: list[Cell], store: Path, device: str) -> None:
        self.cells = cells
        self.store = store
        self.device = device

    def __call__(self) -> list[Outcome]:
        """Do the cells; at a signal save, and be queued again where the cluster asked for that."""
        wants_back: list[int] = []

        def save(number: int, frame: object) -> None:
            wants_back.append(number)
            os.kill(os.getpid(), signal.SIGTERM)

        queue_again = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
        theirs = signal.signal(queue_again, save)
        try:
            with raised_signals():
                return list(work_on(self.cells, self.store, self.device))
        except StoppedError as stopped:
            signal.signal(queue_again, theirs)
            if wants_back or stopped.exit_code == exit_code(signal.SIGUSR1):
                os.kill(os.getpid(), queue_again)
            # Without a result: whoever ended it decides whether it is run again.
            sys.exit(stopped.exit_code)

    def checkpoint(self) -> Any:
        """Return what submitit puts into the queue: the same again, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _executor(name: str, folder: Path, options: Mapping[str, Any]) -> Any:
    from submitit import AutoExecutor

    # That there is no accounting, at every look.
    logging.getLogger("submitit").setLevel(logging.ERROR)
    executor = AutoExecutor(folder=folder, cluster=name)
    try:
        executor.update_parameters(**{**USUAL, **options})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"--cluster-set: {first_line(error)}") from error
    return executor


def _submit(executor: Any, task: CellTask) -> Any:
    try:
        return executor.submit(task)
    # Whatever the cluster's own commands say.
    except Exception as error:
        raise DiffprobeError(f"the cluster took no job: {first_line(error)}") from error


def _collect(submitted: Any, cells: list[Cell], store: Path) -> Iterator[Outcome]:
    try:
        found: list[Outcome] = submitted.result()
    except Exception as error:
        if "disk is full" in str(error):
            raise FullDiskError(_last_line(error)) from error
        told = f"job {submitted.job_id} ended without a result: {_last_line(error)}"
        found = _without(cells, store, told, str(error))
    yield from found


def _without(cells: list[Cell], store: Path, why: str, trace: str = "") -> list[Outcome]:
    return [stored(cell, store) or Outcome(cell.name, error=why, trace=trace) for cell in cells]


class _Lost:
    """Jobs that Slurm says have ended: without accounting submitit waits for their result for ever.

    A job is lost that two looks in a row find ended; its result may be slow to arrive.
    """

    def __init__(self, name: str) -> None:
        self.asks = name == "slurm"
        self.ended: dict[str, str] = {}
        self.looked = time.monotonic()

    def jobs(self) -> dict[str, str]:
        """Return job -> state of what is lost."""
        if not self.asks or time.monotonic() < self.looked + ASKED:
            return {}
        self.looked = time.monotonic()
        command = ["squeue", "--noheader", "--states=all", "--format=%i %T"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        states = dict(line.split() for line in told.splitlines() if len(line.split()) == 2)
        ended = {job: state for job, state in states.items() if state in ENDED}
        lost = {job: state for job, state in ended.items() if job in self.ended}
        self.ended = ended
        return lost


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -=*")]
    return lines[-1] if lines else repr(error)
