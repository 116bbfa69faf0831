"""Ctrl-C, SIGTERM, SIGUSR1: raised wherever they arrive, or looked at between steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from diffprobe.foundations.errors import StoppedError

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
if hasattr(signal, "SIGUSR1"):  # not on Windows; schedulers send it some time before the end
    NAMES[signal.SIGUSR1] = "SIGUSR1"
SIGNALS = tuple(NAMES)
AGAIN = 1.0  # seconds after which a signal is raised again
HAS_TIMER = hasattr(signal, "setitimer")  # not on Windows

Handler = Callable[[int, FrameType | None], None]


def exit_code(number: int) -> int:
    """Return the exit code by which shells tell that a signal ended a program.

    >>> exit_code(signal.SIGINT), exit_code(signal.SIGTERM), exit_code(signal.SIGUSR1)
    (130, 143, 138)
    """
    return 128 + number


@contextmanager
def raised_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at one of the signals, and StoppedError behind it.

    It is raised again every second until the block is left, since an exception that meets a
    finalizer or a callback is printed by Python and forgotten, and one that meets a bare `except`
    of a library is silently lost. A second signal ends the process at once.
    """
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    timer: dict[signal.Signals, Handler] = {signal.SIGALRM: again} if HAS_TIMER else {}
    with _handlers({**dict.fromkeys(SIGNALS, stop), **timer}):
        try:
            yield
        except BaseException:
            # Whatever it has become on its way here.
            if not arrived:
                raise
        finally:
            if arrived and HAS_TIMER:
                signal.setitimer(signal.ITIMER_REAL, 0)
    if arrived:
        raise StoppedError(
            f"stopped by {NAMES[signal.Signals(arrived[0])]}; nothing already written was lost, "
            "and the same command goes on from there",
            exit_code(arrived[0]),
        )


@contextmanager
def stop_signals(*, again_ends: bool = True) -> Iterator[list[int]]:
    """Yield a list that the signals put themselves on, for a loop to look at between steps.

    Args:
        again_ends: Whether a second signal is not waited with: it then does what it would have
            done without.
    """
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        if again_ends:
            for each, handler in before.items():
                signal.signal(each, handler)

    with _handlers(dict.fromkeys(SIGNALS, stop)) as before:
        yield arrived


@contextmanager
def _handlers(
    handlers: dict[signal.Signals, Handler],
) -> Iterator[dict[signal.Signals, "signal._HANDLER"]]:
    """Set handlers for a while, and yield those that were there before."""
    if threading.current_thread() is not threading.main_thread():
        yield {}  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
