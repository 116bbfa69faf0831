"""Loss curves: what a law is fitted to, from CSV files and run folders."""

import csv
import dataclasses
import difflib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffprobe.foundations.errors import NotFoundError, UsageError, offer_nearest
from diffprobe.laws.schedule_pieces import Floats, Pieces, Steps, check_rates
from diffprobe.training.run_folder import RunFolder

COLUMNS = ("step", "lr", "loss")
FEWEST = 10  # rows after the warm-up that tell anything of a curve


@dataclass(frozen=True)
class Curve:
    """The loss of one training, after its warm-up.

    Attributes:
        name: Of its file or folder.
        schedule: Its learning rates, from step 0 on.
        steps: (n,) rising, counted from 0; a loss is that after this step.
        losses: (n,) positive.
        is_late: Whether nothing is known of its beginning, and a warm-up was assumed.
    """

    name: str
    schedule: Pieces
    steps: Steps
    losses: Floats
    is_late: bool = False

    @property
    def warm_up(self) -> int:
        """How many steps it warmed up for."""
        return self.schedule.warm_up

    @property
    def reach(self) -> float:
        """The sum of its learning rates up to the last row."""
        return float(self.schedule.sums(self.steps[-1:])[0])

    def since(self, step: int) -> "Curve":
        """Return the curve without its rows before a step.

        Raises:
            UsageError: If too few are left.
        """
        kept = self.steps >= step
        check_long_enough(self.name, int(kept.sum()), f"from step {step:,} on")
        return dataclasses.replace(self, steps=self.steps[kept], losses=self.losses[kept])

    def thinned(self, most: int) -> "Curve":
        """Return the curve with at most `most` rows, evenly taken."""
        if len(self.steps) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.steps) - 1, most).round().astype(int))
        return dataclasses.replace(self, steps=self.steps[kept], losses=self.losses[kept])


def read_curve(path: Path, warm_up: int | None = None) -> Curve:
    """Return the curve of a CSV file with the columns step, lr and loss, or of a run folder.

    A row of a CSV file holds the rate at a step and the loss after it; the rate holds until the
    next row. Of a run it is the validation loss of its raw weights: an average imitates decay.

    Args:
        path: Of the file or folder.
        warm_up: Steps over which the rate rose from zero to that of the first row of a CSV file;
            by default all before it.

    Raises:
        UsageError: If it is not there, too short, or holds something else.
    """
    if path.is_dir():
        return _of_run(RunFolder(path))
    steps, rates, losses = read_columns(path, COLUMNS).values()
    rows = checked_steps(steps, path)
    check_rates(rates, str(path))
    first = int(steps[0])
    if warm_up is not None and not 0 <= warm_up <= first:
        raise UsageError(f"{path} begins at step {first:,}: a warm-up of {warm_up:,} does not fit")
    is_late = warm_up is None and first > 1
    known = first if is_late else warm_up or 0
    return _after_warm_up(path.stem, Pieces.of_rows(rows, rates, known), rows, losses, is_late)


def read_curves(paths: Sequence[Path], warm_up: int | None = None) -> list[Curve]:
    """Return the curves of several files or folders; those of one name are called by their path."""
    found = [read_curve(path, warm_up) for path in paths]
    names = Counter(curve.name for curve in found)
    return [
        curve if names[curve.name] == 1 else dataclasses.replace(curve, name=str(path))
        for curve, path in zip(found, paths, strict=True)
    ]


def read_schedule(path: Path) -> tuple[Pieces, int, Curve | None]:
    """Return the learning rates of a CSV file or run folder, its last step, and its curve.

    A CSV file needs a column lr: with a column step each rate holds until the next row, without it
    a row is a step. The curve is None where there is no column loss.

    Raises:
        UsageError: If it is not there, or holds no learning rates.
    """
    if path.is_dir():
        curve = read_curve(path)
        return curve.schedule, int(curve.steps[-1]), curve
    there = header(path)
    if {*COLUMNS} <= {*there}:
        curve = read_curve(path)
        return curve.schedule, int(curve.steps[-1]), curve
    if "step" in there:
        steps, rates = read_columns(path, ("step", "lr")).values()
        whole = checked_steps(steps, path)
        check_rates(rates, str(path))
        first = int(whole[0])
        return Pieces.of_rows(whole, rates, first if first > 1 else 0), int(whole[-1]), None
    rates = read_columns(path, ("lr",))["lr"]
    check_rates(rates, str(path))
    return Pieces.of_rates(rates), len(rates) - 1, None


def check_long_enough(name: str, rows: int, where: str) -> None:
    """Raise UsageError if a curve has too few rows."""
    if rows < FEWEST:
        raise UsageError(
            f"{name} has {rows} row{'s' * (rows != 1)} {where}, and a law needs {FEWEST} at least: "
            "log the loss more often"
        )


def read_columns(path: Path, columns: tuple[str, ...]) -> dict[str, Floats]:
    """Return columns of numbers of a CSV file by name: (n,) each.

    Raises:
        UsageError: If there is no such file or column, or a cell is no number.
    """
    with _opened(path) as rows:
        there = [str(name) for name in rows.fieldnames or ()]
        for name in columns:
            if name not in there:
                raise UsageError(f"{path} needs a column {name!r}{_offer(name, there)}")
        cells = [[_number(row[name], name, path, i) for name in columns] for i, row in _at(rows)]
    if not cells:
        raise UsageError(f"{path} has no rows")
    return dict(zip(columns, np.array(cells, float).T, strict=True))


def header(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file.

    Raises:
        UsageError: If it is not there, or no text.
    """
    with _opened(path) as rows:
        return [str(name) for name in rows.fieldnames or ()]


def checked_steps(steps: Floats, path: Path) -> Steps:
    """Return steps as whole numbers: (n,).

    Raises:
        UsageError: If they are none, or do not rise.
    """
    whole = np.flatnonzero((steps != np.floor(steps)) | (steps < 0))
    if len(whole):
        raise UsageError(f"{path}: {steps[whole[0]]:g} is no step (row {whole[0] + 1})")
    if len(back := np.flatnonzero(np.diff(steps) <= 0)):
        at = int(back[0])
        raise UsageError(
            f"{path}: step {steps[at + 1]:g} follows step {steps[at]:g} (row {at + 2}): sort the "
            "rows by step, one run a file"
        )
    return steps.astype(np.int64)


@contextmanager
def _opened(path: Path) -> Iterator["csv.DictReader[str]"]:
    if not path.exists():
        raise NotFoundError(f"no file and no run folder at {path}{offer_nearest(path)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            yield csv.DictReader(opened)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file of text: {error}") from error


def _at(rows: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    return enumerate(rows, 2)  # a line's number: the first holds the names


def _offer(name: str, there: list[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    listed = ", ".join(there) or "nothing"
    return f"; its first line has {listed}" + (f": rename {close[0]!r}" if close else "")


def _number(cell: str | None, name: str, path: Path, line: int) -> float:
    try:
        number = float(cell or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{path}, line {line}: {name} is {cell!r}, which is no number")
    return number


def _of_run(run: RunFolder) -> Curve:
    lines = [m for m in run.metrics() if "validation_loss" in m]
    steps = np.array([m["step"] for m in lines], np.int64) - 1
    losses = np.array([m["validation_loss"] for m in lines], float)
    rates = run_rates(run, int(steps[-1]) + 1 if len(steps) else 1)
    check_rates(rates, str(run.path))
    kept = steps >= 0
    steps, losses = steps[kept], losses[kept]
    pieces = Pieces.of_rates(rates)
    return _after_warm_up(run.path.resolve().name, pieces, steps, losses, False)


def run_rates(run: RunFolder, steps: int) -> Floats:
    """Return the learning rate of each of a run's first steps, those of its origin first: (steps,).

    Raises:
        UsageError: If it branched off a run that is not there any more.
    """
    config = run.config()
    rates = config.learning_rate.array(max(steps, config.training.steps))[:steps]
    origin = run.description().get("branch")
    if origin:
        begun = min(int(origin["step"]), steps)
        rates[:begun] = run_rates(RunFolder(Path(origin["run"])), begun)
    return rates


def _after_warm_up(name: str, pieces: Pieces, steps: Steps, losses: Floats, is_late: bool) -> Curve:
    wrong = np.flatnonzero(~(np.isfinite(losses) & (losses > 0)))
    if len(wrong):
        at = int(wrong[0])
        raise UsageError(f"{name}: the loss at step {steps[at]:,} is {losses[at]:g}, not positive")
    kept = steps >= pieces.warm_up
    check_long_enough(name, int(kept.sum()), "after its warm-up")
    return Curve(name, pieces, steps[kept], losses[kept], is_late)
