"""Cells: a configuration and what is measured of it; where its run lies, and what was found.

STORE/ADDRESS/                  an ordinary run folder, called by a hash of how it is trained
STORE/ADDRESS/cells/KEY.json    what was measured of it, by a hash of all that the numbers depend on

Studies share the store: what one has trained and measured no other does again.
"""

import hashlib
import json
import logging
import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from diffprobe.config import TRAINED, Config, from_settings
from diffprobe.foundations.errors import (
    CheckpointError,
    DiffprobeError,
    FullDiskError,
    StoppedError,
    UsageError,
    first_line,
)
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import read_record, write_record
from diffprobe.foundations.settings import build_kind
from diffprobe.probing.code import measuring_code
from diffprobe.studies.computations import Computation, Computed, code_of

SCHEMA = "diffprobe-cell/1"
COMPUTATION = "computation"
logger = logging.getLogger("diffprobe")


@dataclass(frozen=True)
class Cell:
    """One run of a grid, and what is asked of it; all in plain terms, to be sent anywhere.

    Attributes:
        question: Which of the study's questions it belongs to, from 1.
        varied: Setting -> value.
        seed: Of everything random.
        settings: The resolved configuration; or "computation", and "seed".
        measures: What to measure.
        along: Whether at every checkpoint.
        what: Where in the grid it lies, in words.
    """

    question: int
    varied: dict[str, Any]
    seed: int
    settings: dict[str, Any]
    measures: tuple[str, ...]
    along: bool
    what: str = ""

    @property
    def is_computed(self) -> bool:
        """Whether it is no training."""
        return COMPUTATION in self.settings

    @property
    def address(self) -> str:
        """What tells its run from others: how it is trained, and how far."""
        if self.is_computed:
            return _hash(self.settings)
        trained = {key: self.settings[key] for key in TRAINED}
        # What is not there is no part of how a network is trained.
        return _hash({key: value for key, value in trained.items() if value != {"name": "none"}})

    @property
    def key(self) -> str:
        """What tells its numbers from others."""
        asked = [sorted(self.measures), self.along, measuring_code(), SCHEMA]
        if self.is_computed:
            asked.append(code_of(self.computation()))
        return _hash([self.settings, asked])

    @property
    def name(self) -> str:
        """What it is called in tables: the run, and how it was looked at."""
        return f"{self.address}-{self.key[:6]}"

    def config(self) -> Config:
        """Return the configuration."""
        return from_settings(self.settings)

    def computation(self) -> Computation:
        """Return what is computed."""
        found = build_kind("computation", self.settings[COMPUTATION], "computation")
        return cast(Computation, found)

    def run(self, store: Path) -> Path:
        """Return its run folder."""
        return store / self.address

    def record(self, store: Path) -> Path:
        """Return the file of what was measured."""
        return self.run(store) / "cells" / f"{self.key}.json"


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        cell: Its name.
        numbers: Rows: "step", "measure", "log_snr", and a number with its error.
        seconds: What it took here; of what lay there already, what it took then.
        parameters: Of the network.
        when: Seconds since 1970 at which it was measured.
        error: Why there are no numbers, in a line; empty where there are.
        trace: Where in the code that was, for an error that is none of diffprobe's own.
    """

    cell: str
    numbers: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    parameters: int = 0
    when: float = 0.0
    error: str = ""
    trace: str = ""


def stored(cell: Cell, store: Path) -> Outcome | None:
    """Return what was measured of a cell before; None where nothing was, or it is damaged."""
    try:
        found: Outcome = read_record(cell.record(store), Outcome, schema=SCHEMA)
    except (UsageError, CheckpointError):
        return None
    return found


def work(cell: Cell, store: Path, device: str, progress: Progress = silent) -> Outcome:
    """Train and measure a cell, or find what was done before; what fails is told, not raised.

    Raises:
        StoppedError: After Ctrl-C or SIGTERM, when what is done has been stored.
        FullDiskError: If the disk is full: no other cell could be stored either.
    """
    if (found := stored(cell, store)) is not None:
        return found
    started = time.monotonic()
    try:
        if cell.is_computed:
            return _compute([cell], store, device, progress)[0]
        from diffprobe.studies.measuring import measure

        numbers, parameters = measure(cell, store, device, progress)
        seconds = time.monotonic() - started
        outcome = Outcome(cell.name, numbers, seconds, parameters, time.time())
        write_record(cell.record(store), outcome, schema=SCHEMA)
    except (StoppedError, FullDiskError):
        raise
    except DiffprobeError as error:
        return Outcome(cell.name, seconds=time.monotonic() - started, error=str(error))
    # One cell's trouble, whatever it is, does not take the others along.
    except Exception as error:
        told = f"{type(error).__name__}: {first_line(error)}"
        seconds = time.monotonic() - started
        return Outcome(cell.name, seconds=seconds, error=told, trace=traceback.format_exc())
    return outcome


def work_on(
    job: Sequence[Cell], store: Path, device: str, progress: Progress = silent
) -> Iterator[Outcome]:
    """Yield what comes of each cell of a job; see `work`. Several runs are trained together."""
    todo = [cell for cell in job if stored(cell, store) is None]
    runs = {cell.address: cell for cell in todo}
    if len(todo) > 1 and todo[0].is_computed:
        _compute_together(todo, store, device, progress)
    elif len(runs) > 1:
        _train_together(list(runs.values()), store, device, progress)
    for cell in job:
        yield work(cell, store, device, progress)


def jobs(cells: Sequence[Cell], *, together: bool | None = False) -> list[list[Cell]]:
    """Put cells of one run together: no two processes write one run folder.

    Args:
        cells: Those to do.
        together: Whether runs that differ in their seed alone are one job, and trained together;
            None where that is quicker on a CPU.
    """
    of_setting: dict[str, list[Cell]] = {}
    for cell in cells:
        of_setting.setdefault(_hash([cell.question, cell.varied]), []).append(cell)
    found: dict[str, list[Cell]] = {}
    for setting, alike in of_setting.items():
        at_once = _is_quicker(alike) if together is None else together
        for cell in alike:
            found.setdefault(setting if at_once else cell.address, []).append(cell)
    return list(found.values())


def _is_quicker(alike: Sequence[Cell]) -> bool:
    if alike[0].is_computed:
        return True
    fewest = alike[0].config().network.quicker_together
    return fewest is not None and len({cell.address for cell in alike}) >= fewest


def _compute_together(cells: Sequence[Cell], store: Path, device: str, progress: Progress) -> None:
    """Compute the seeds of a setting at once; what fails is left to fail, and be told, by seed."""
    try:
        _compute(cells, store, device, progress)
    except (StoppedError, FullDiskError):
        raise
    except Exception as error:  # whatever it is, as in `work`
        logger.warning("computed one by one: %s", first_line(error))


def _compute(cells: Sequence[Cell], store: Path, device: str, progress: Progress) -> list[Outcome]:
    """Compute and store cells that differ in their seed alone."""
    started = time.monotonic()
    found = cells[0].computation().compute([cell.seed for cell in cells], device, progress)
    seconds = (time.monotonic() - started) / len(cells)
    outcomes = []
    for cell, computed in zip(cells, found, strict=True):
        rows = [row for name in cell.measures for row in _rows(cell, name, computed)]
        outcomes.append(Outcome(cell.name, rows, seconds, when=time.time()))
        write_record(cell.record(store), outcomes[-1], schema=SCHEMA)
    return outcomes


def _rows(cell: Cell, name: str, computed: Computed) -> Iterator[dict[str, Any]]:
    """The rows of a measure as `Outcome.numbers` holds them: by step, or of the last."""
    told = computed[name.partition(".")[2]]
    curve = list(told.items()) if isinstance(told, Mapping) else [(None, told)]
    for step, value in curve if cell.along else curve[-1:]:
        known = value is not None and math.isfinite(value)
        yield {
            "step": step if cell.along else None,
            "measure": name,
            "log_snr": None,
            "value": float(value) if value is not None and known else None,
            **dict.fromkeys(("standard_error", "low", "high", "n")),
        }


def _train_together(cells: Sequence[Cell], store: Path, device: str, progress: Progress) -> None:
    """Train runs as replicas; what cannot be is left to be trained, and to fail, by itself."""
    from diffprobe.training.replicas import train_replicas

    first = cells[0].settings
    # Seeds of what is done afterwards change no step.
    rest = {key: value for key, value in first.items() if key not in TRAINED}
    configs = [from_settings({**cell.settings, **rest}) for cell in cells]
    try:
        train_replicas(configs, [cell.run(store) for cell in cells], device, progress)
    except (StoppedError, FullDiskError):
        raise
    except DiffprobeError as error:
        logger.warning("trained one by one: %s", error)


def _hash(content: Mapping[str, Any] | list[Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
