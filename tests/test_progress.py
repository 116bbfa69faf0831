import subprocess
import sys
import time
from types import SimpleNamespace
from weakref import WeakSet

import pytest
from tqdm import tqdm

from diffprobe.foundations.progress import LogLines, _tell, as_progress, clock, shown, silent

SLOW_WORK = """
import time
from diffprobe.foundations import progress
progress.EVERY, progress.YOUNG = 0.2, 0.1
for _ in progress.shown(range(3), desc="probes", unit="probe"):
    for _ in progress.shown(range(8), desc="locality", unit="level"):
        time.sleep(0.1)
"""


def test_without_a_terminal_a_line_now_and_then() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW_WORK], capture_output=True, text=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) >= 5  # 2.4 s of work
    assert all("probes: " in line and " of 3 probes (" in line for line in lines)
    assert any("; locality: " in line and " left" in line for line in lines)
    assert not any("\r" in line for line in lines)


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown(range(3), desc="quick")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_what_has_just_begun_says_nothing_even_when_a_line_is_due(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogLines, "_instances", WeakSet())
    bar = LogLines(total=2, desc="quick", unit="step")
    _tell()
    assert capsys.readouterr().err == ""
    bar.start_t -= 2
    _tell()
    assert "quick: 0 of 2 steps (0%)" in capsys.readouterr().err
    bar.close()


def test_a_line_tells_part_share_and_time_left() -> None:
    bar = LogLines(total=200, initial=50, desc="train", unit="step")
    bar.start_t = time.time() - 100
    bar.n = 100
    bar.set_postfix(loss="0.1234", refresh=False)
    assert bar.line() == "train: 100 of 200 steps (50%), 3:20 left, loss=0.1234"
    bar.close()


def test_a_line_before_the_first_step_and_without_a_total() -> None:
    bar = LogLines(total=10, desc="sample", unit="step")
    assert bar.line() == "sample: 0 of 10 steps (0%)"
    bar.close()
    endless = LogLines(desc="words", unit="word")
    endless.update(1500)
    assert endless.line() == "words: 1,500 words"
    endless.close()
    batches = LogLines(total=3, desc="map", unit="batch")
    assert batches.line() == "map: 0 of 3 batches (0%)"
    batches.close()


def test_what_ended_is_told_no_more() -> None:
    before = len(LogLines._instances)
    with shown(total=1, desc="held") as bar:
        assert isinstance(bar, LogLines)
        assert len(LogLines._instances) == before + 1
    assert len(LogLines._instances) == before


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = shown(range(2), desc="train")
    assert type(bar) is tqdm
    assert not bar.disable
    bar.close()


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    bar = shown(range(2), desc="train")
    assert isinstance(bar, tqdm)
    assert not isinstance(bar, LogLines)
    bar.close()


def test_true_false_and_what_a_caller_brings() -> None:
    assert as_progress(True) is shown
    assert as_progress(False) is silent
    assert as_progress(tqdm) is tqdm


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (750, "12:30"), (11100, "3:05:00"), (59.9, "0:59")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
