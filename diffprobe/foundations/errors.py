"""What diffprobe raises: one base class, and how to word an unknown name."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class DiffprobeError(Exception):
    """Something failed; the message says what, where, and what would be right."""

    exit_code = 1


class UsageError(DiffprobeError, ValueError):
    """What was asked for cannot be done as asked: a bad argument, key, shape or path."""

    exit_code = 2


class CheckpointError(DiffprobeError):
    """A checkpoint or run folder is missing, foreign, damaged or of another configuration."""


class InUseError(DiffprobeError):
    """Another process is writing there; the message says which."""


class FullDiskError(DiffprobeError):
    """The disk, or what may be used of it, is full; the message says what was not written."""


class NotFoundError(UsageError, CheckpointError):
    """What was named is not there, or is no run and no checkpoint: a mistake of who named it."""


class HubError(DiffprobeError):
    """The Hub refused what was sent, or cannot be reached; the message says which."""


class NonFiniteLossError(DiffprobeError):
    """Training met a loss or weights that are not finite; `step` says where."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class UnfittedLawError(DiffprobeError):
    """A law cannot be fitted to these curves; the message says why."""


class ProcessError(DiffprobeError):
    """Another process of the same training failed, ended, or has come to other weights."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class MemoryLimitError(UsageError):
    """What was asked for needs more memory than --memory allows; the message says how much."""


class ValidatorError(DiffprobeError):
    """A checker of the user's own raised an error; the message says which, and where."""


class StoppedError(DiffprobeError):
    """Ctrl-C, SIGTERM or SIGUSR1 ended what was going on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InterruptedRunError(StoppedError):
    """Ctrl-C, SIGTERM or SIGUSR1 stopped a training that the same command continues."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """Return the error for a name that is none of `valid`, offering the nearest ones.

    >>> str(unknown_name("preset", "parity-unte", ["parity-unet", "digit-sum-unet"]))
    "unknown preset 'parity-unte': did you mean 'parity-unet'?"
    >>> str(unknown_name("key", "x", ["steps", "seed"]))
    "unknown key 'x': choose from seed, steps"
    >>> str(unknown_name("key", "stream.x", []))
    "unknown key 'stream.x': there is none to choose"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        offer = "did you mean " + " or ".join(repr(c) for c in close) + "?"
    elif names:
        offer = "choose from " + ", ".join(names)
    else:
        offer = "there is none to choose"
    return UsageError(f"unknown {kind} {name!r}: {offer}")


def offer_nearest(path: Path) -> str:
    """Return the question that offers what lies beside a path that is not there, or nothing."""
    if not path.parent.is_dir():
        return ""
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f": did you mean {str(path.with_name(close[0]))!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)
