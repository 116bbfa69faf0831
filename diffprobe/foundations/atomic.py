"""Files and folders that appear whole or not at all.

What is half-written is called `.partial-HOST-PID-RANDOM-NAME`: it belongs to one process, and only
what no living process can own is ever cleaned up, by whoever writes there next.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from diffprobe.foundations.errors import DiffprobeError, FullDiskError

PARTIAL = ".partial-"
# From when on a partial file is nobody's, whose process cannot be asked: it is on another host.
OLD = 24 * 3600.0


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` at the end.

    If the block fails, nothing but the temporary folder was touched, and it is removed.

    Raises:
        FullDiskError: If the disk is full.
        DiffprobeError: If there is a `target` with something in it: a folder
            cannot be replaced in one step.
    """
    partial = _partial(target)
    with explain_full_disk(target):
        _sweep(target.parent.glob(f"{PARTIAL}*"))
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.rename(target)
        except BaseException as error:
            remove(partial)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise DiffprobeError(f"{target} is there already") from error
            raise


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` and rename it to `target` at the end.

    Raises:
        FullDiskError: If the disk is full.
    """
    partial = _partial(target)
    with explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent.glob(f"{PARTIAL}*"))
        try:
            # Made here, so that what is written goes to a file of ours and through no link.
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield partial
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder in `parent` for what is to be moved from there, removed at the end.

    Raises:
        DiffprobeError: If the disk is full.
    """
    partial = _partial(parent / "scratch")
    with explain_full_disk(parent):
        _sweep(parent.glob(f"{PARTIAL}*"))
        partial.mkdir(parents=True)
        try:
            yield partial
        finally:
            remove(partial)


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(target) as partial:
        partial.write_text(text, "utf-8")


def append(target: Path, content: bytes) -> None:
    """Add to the end of a file.

    Raises:
        FullDiskError: If the disk is full; a part of the content may be there then.
    """
    with explain_full_disk(target), target.open("ab") as file:
        file.write(content)


def remove(folder: Path) -> None:
    """Delete a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def remove_partials(parent: Path) -> None:
    """Delete what dead processes left half-written under `parent`; links are never followed."""
    _sweep(parent.rglob(f"{PARTIAL}*"))


def _sweep(found: Iterable[Path]) -> None:
    for leftover in list(found):
        with contextlib.suppress(FileNotFoundError):  # another process cleans up as well
            if _may_be_written(leftover):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


@contextlib.contextmanager
def explain_full_disk(target: Path) -> Iterator[None]:
    """Say in the program's words that the disk was too full to write `target`."""
    try:
        yield
    except Exception as error:
        # safetensors wraps the operating system's error in its own class.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(error):
            raise FullDiskError(
                f"the disk is full: {target} could not be written; nothing already there was "
                "touched. Free some space and run the same command again"
            ) from error
        raise


def _partial(target: Path) -> Path:
    owner = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f"{PARTIAL}{owner}-{target.name}")


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _may_be_written(partial: Path) -> bool:
    match = re.match(rf"{re.escape(PARTIAL)}([0-9a-f]{{8}})-(\d+)-", partial.name)
    if match is not None and match[1] == _host():
        return bool(psutil.pid_exists(int(match[2])))
    return time.time() - partial.lstat().st_mtime < OLD
