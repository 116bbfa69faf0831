"""Progress of long work: a bar on a terminal and in a notebook, elsewhere a line now and then.

All of it goes to stderr, so that results on stdout can be piped.
"""

import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

from tqdm import tqdm

# Called as tqdm is: progress(iterable, desc=..., total=...).
Progress = Callable[..., Any]

EVERY = 30.0  # seconds between two lines where nothing can be drawn over
YOUNG = 1.0  # seconds in which what has begun says nothing yet: most of it is done by then

silent: Progress = partial(tqdm, disable=True)


def shown(*arguments: Any, **options: Any) -> Any:
    """Show progress as it can be shown where this runs; called as tqdm is."""
    if _in_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no ipywidgets, at length
            from tqdm.autonotebook import tqdm as bar
        return bar(*arguments, **options)
    if sys.stderr.isatty():
        return tqdm(*arguments, dynamic_ncols=True, smoothing=0.1, **options)
    return LogLines(*arguments, **options)


def as_progress(progress: Progress | bool) -> Progress:
    """Return what is called for progress: True is what suits the place, False is nothing."""
    if progress is True:
        return shown
    return silent if progress is False else progress


def clock(seconds: float) -> str:
    """Return seconds as 0:07, 12:30 or 3:05:00."""
    text: str = tqdm.format_interval(seconds)
    return text.removeprefix("0") if text.startswith("0") else text


class LogLines(tqdm):
    """Progress where nothing can be drawn over, such as a log: a line every half minute.

    All that is going on stands in a line, the outermost first. What is quicker says nothing.
    """

    monitor_interval: ClassVar[float] = 0
    _instances: ClassVar["WeakSet[LogLines]"] = WeakSet()
    _watch: ClassVar[threading.Thread | None] = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if LogLines._watch is None:
            LogLines._watch = threading.Thread(target=_tell_now_and_then, daemon=True)
            LogLines._watch.start()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw nothing: what is counted is told by the lines."""
        return True

    def close(self) -> None:
        """End without a word."""
        if self in self._instances:
            self._decr_instances(self)

    def line(self) -> str:
        """Return what is going on, how much of it is done and how long the rest takes."""
        known = self.format_dict
        done, total, unit = known["n"], known["total"], known["unit"]
        units = f"{unit}es" if unit.endswith("ch") else f"{unit}s"
        what = self.desc.removesuffix(": ") or "work"
        if not total:
            return f"{what}: {done:,} {units}"
        share = f"{what}: {done:,} of {total:,} {units} ({done / total:.0%})"
        new = done - known["initial"]
        if new <= 0:
            return share
        # The mean of all, with what takes long just now: parts differ more than the machine does.
        left = (total - done) * known["elapsed"] / new
        also = f", {known['postfix']}" if known["postfix"] else ""
        return f"{share}, {clock(left)} left{also}"


def _tell_now_and_then() -> None:
    while True:
        time.sleep(EVERY)
        _tell()


def _tell() -> None:
    with LogLines.get_lock():
        going = sorted(LogLines._instances, key=lambda bar: bar.start_t)
    if going and time.time() - going[0].start_t >= YOUNG:
        line = "; ".join(bar.line() for bar in going)
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stderr.flush()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return running is not None and "IPKernelApp" in running.config
