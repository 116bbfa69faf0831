"""Progress bars: silent from Python, on stderr from a terminal."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tqdm import tqdm

# Called as tqdm is: progress(iterable, desc=..., total=...).
Progress = Callable[..., Any]

silent: Progress = partial(tqdm, disable=True)
# disable=None: tqdm writes to stderr, and only when that is a terminal.
terminal: Progress = partial(tqdm, disable=None, dynamic_ncols=True, smoothing=0.1)
