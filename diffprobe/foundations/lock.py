"""One writer at a time: a lock that says who holds it, and that no death leaves behind."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import filelock

from diffprobe.foundations.atomic import explain_full_disk
from diffprobe.foundations.errors import InUseError


@contextmanager
def one_writer(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`.

    The operating system frees it when its holder ends, however it ends. The file stays.

    Args:
        path: In a folder that exists.
        what: Is held, as the error should call it.

    Raises:
        InUseError: If another process, or another thread, holds it.
    """
    lock = filelock.FileLock(path, blocking=False)
    try:
        with explain_full_disk(path):
            lock.acquire()
    except filelock.Timeout:
        raise InUseError(
            f"{what} is being written by {_holder(path)}. Wait until it ends, or stop it: a folder "
            "has one writer at a time, and is free as soon as that one is gone"
        ) from None
    try:
        # Not renamed into place, as files are elsewhere: the lock is on this very file.
        with explain_full_disk(path):
            path.write_text(json.dumps(_ourselves()) + "\n", "utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever does: for what takes no time.

    Args:
        path: In a folder that exists.
    """
    lock = filelock.FileLock(path)
    with explain_full_disk(path):
        lock.acquire(poll_interval=0.01)
    try:
        yield
    finally:
        lock.release()


def _ourselves() -> dict[str, str | int]:
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join([name, *sys.argv[1:]]),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text("utf-8"))
        since = str(told["since"])[:19]
        return f"process {told['pid']} on {told['host']}, since {since} ({told['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not yet said who it is
