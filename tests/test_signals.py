"""Ctrl-C and SIGTERM, wherever they arrive."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from diffprobe.foundations import signals
from diffprobe.foundations.errors import StoppedError
from diffprobe.foundations.signals import raised_signals, stop_signals


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "AGAIN", 0.05)


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (signal.SIGINT, 130, "Ctrl-C"),
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGUSR1, 138, "SIGUSR1"),
    ],
)
def test_a_signal_stops_what_is_going_on(number: signal.Signals, code: int, name: str) -> None:
    before = [signal.getsignal(s) for s in (*signals.SIGNALS, signal.SIGALRM)]
    stops = pytest.raises(StoppedError, match=f"stopped by {name}; nothing already written")
    with stops as stop, raised_signals():
        signal.raise_signal(number)
    assert stop.value.exit_code == code
    assert [signal.getsignal(s) for s in (*signals.SIGNALS, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def never_reached() -> None:
    time.sleep(10)
    raise AssertionError("never reached")


def bare_except() -> None:
    with contextlib.suppress(BaseException):  # as some libraries do at an import
        signal.raise_signal(signal.SIGINT)
    never_reached()


def finalizer() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    Finalized()  # gone at once
    never_reached()


def another_error() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException as error:
        raise RuntimeError("a callback failed") from error


def loop() -> None:
    """It is told of the first signal; the second does not wait for it."""
    with stop_signals() as arrived:
        signal.raise_signal(signal.SIGTERM)
        assert arrived == [signal.SIGTERM]
        signal.raise_signal(signal.SIGINT)
        never_reached()


def test_of_a_signal_that_is_passed_on_the_first_counts() -> None:
    with stop_signals(again_ends=False) as arrived:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert arrived == [signal.SIGUSR1, signal.SIGTERM]


@pytest.mark.parametrize("swallowing", [bare_except, finalizer, another_error, loop])
def test_nothing_swallows_an_interruption(
    swallowing: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own hook is Python code, which the second raise may meet on a slow machine.
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    with pytest.raises(StoppedError), raised_signals():
        swallowing()


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), raised_signals():
        divmod(1, 0)


STUBBORN = """
import sys, time
from diffprobe.foundations.signals import raised_signals
with raised_signals():
    while True:
        try:
            print("alive", flush=True)
            time.sleep(10)
        except KeyboardInterrupt:
            pass
"""


def test_a_second_ctrl_c_kills() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "alive\n"
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


IMPORTING = """
import sys, time
import click
from diffprobe.cli import kinds, main
@click.command()
def command():
    print("ready", flush=True)
    time.sleep(10)
kinds.command = command
main(["kinds"])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_line_says_so_and_exits_as_shells_expect(
    number: signal.Signals, code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert errors.strip().splitlines()[-1].startswith("diffprobe: error: stopped by ")
    assert "Traceback" not in errors
