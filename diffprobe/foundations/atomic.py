"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from diffprobe.foundations.errors import DiffprobeError

_PARTIAL = ".partial-"


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` at the end.

    A target that exists is replaced. If the block fails, nothing but the temporary folder was
    touched, and it is removed.

    Raises:
        DiffprobeError: If the disk is full.
    """
    partial = target.with_name(f"{_PARTIAL}{target.name}")
    with _explain_full_disk(target):
        remove(partial)
        partial.mkdir(parents=True)
        try:
            yield partial
            if target.exists():
                # A folder cannot be renamed over another: the old one steps aside first.
                old = target.with_name(f"{_PARTIAL}old-{target.name}")
                remove(old)
                target.rename(old)
                partial.rename(target)
                remove(old)
            else:
                partial.rename(target)
        except BaseException:
            remove(partial)
            raise


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` and rename it to `target` at the end.

    Raises:
        DiffprobeError: If the disk is full.
    """
    partial = target.with_name(f"{_PARTIAL}{target.name}")
    with _explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(target) as partial:
        partial.write_text(text, "utf-8")


def remove(folder: Path) -> None:
    """Delete a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def remove_partials(parent: Path) -> None:
    """Delete what a killed process left half-written under `parent`."""
    for old in parent.rglob(f"{_PARTIAL}old-*"):
        # Stepped aside for a new one that never came.
        target = old.with_name(old.name.removeprefix(f"{_PARTIAL}old-"))
        if not target.exists():
            old.rename(target)
    for leftover in parent.rglob(f"{_PARTIAL}*"):
        if leftover.is_dir():
            remove(leftover)
        else:
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _explain_full_disk(target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors wraps the operating system's error in its own class.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(error):
            raise DiffprobeError(
                f"the disk is full: {target} could not be written; nothing already there was "
                "touched. Free some space and run the same command again"
            ) from error
        raise
