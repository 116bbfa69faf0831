"""Cells in several processes of this machine, which share its cores.

Each process goes on from job to job, so that what takes seconds to import is imported once. A
process that dies, as where memory runs out, costs the cells of its job; another takes its place.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import FullDiskError, StoppedError, UsageError
from diffprobe.foundations.signals import raised_signals
from diffprobe.studies.cells import Cell, Outcome, work_on
from diffprobe.studies.launching import Jobs, Launcher

MOST = 256  # processes


def workers(n: int) -> Launcher:
    """Return a launcher that works in `n` processes, each with its share of the cores.

    Raises:
        UsageError: If `n` is not a number of processes.
    """
    if not 1 <= n <= MOST:
        raise UsageError(f"--workers must be from 1 to {MOST}, not {n}")

    def launch(jobs: Jobs, store: Path, device: str) -> Generator[Outcome]:
        waiting = [list(job) for job in jobs]
        threads = max(1, cores() // min(n, len(waiting) or 1))
        going: list[_Worker] = []
        try:
            while waiting or any(worker.job for worker in going):
                for worker in going:
                    if waiting and not worker.job:
                        worker.begin(waiting.pop(0), store, device)
                while waiting and len(going) < n:
                    going.append(_Worker.start(threads))
                    going[-1].begin(waiting.pop(0), store, device)
                ready = wait([worker.here for worker in going if worker.job])
                for worker in [each for each in going if each.here in ready]:
                    yield from worker.receive()
                    if worker.is_gone:
                        going.remove(worker)
        finally:
            for worker in going:
                worker.process.terminate()
            for worker in going:
                worker.process.join()

    return launch


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Worker:
    """A process, this end of the pipe to it, and the cells that it still has to do."""

    process: SpawnProcess
    here: "Connection[Any, Any]"
    job: list[Cell] = field(default_factory=list)
    is_gone: bool = False

    @classmethod
    def start(cls, threads: int) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, threads), daemon=True)
        process.start()
        there.close()
        return cls(process, here)

    def begin(self, job: list[Cell], store: Path, device: str) -> None:
        self.job = job
        try:
            self.here.send((job, store, device))
        except OSError:  # it has died; `receive` tells
            return

    def receive(self) -> Iterator[Outcome]:
        """Yield what the process says, or what its end says of the cells it had."""
        try:
            message = self.here.recv()
        except (EOFError, OSError):
            self.is_gone = True
            self.process.join()
            code = self.process.exitcode or 0
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            hint = ": was there too little memory?" if code == -signal.SIGKILL else ""
            for cell in self.job:
                yield Outcome(cell.name, error=f"its process ended by {how}{hint}")
            self.job = []
            return
        if isinstance(message, str):
            raise FullDiskError(message)
        del self.job[0]
        yield message


def _serve(there: "Connection[Any, Any]", threads: int) -> None:
    """Do jobs until there are no more."""
    # A Ctrl-C at the terminal is the parent's alone, which stops this process once and not twice.
    os.setsid()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with raised_signals():
            import torch

            torch.set_num_threads(threads)
            while True:
                job, store, device = there.recv()
                for outcome in work_on(job, store, device):
                    there.send(outcome)
    except FullDiskError as error:
        there.send(str(error))
    except (EOFError, OSError):
        return
    except StoppedError as error:
        raise SystemExit(error.exit_code) from error


def _end_with(parent: int) -> None:
    """Stop, as SIGTERM stops, when the parent is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
