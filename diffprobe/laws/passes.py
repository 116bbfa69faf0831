"""Losses of trainings that see data once or again, from tables and run folders.

A row is a loss after `seen` samples of a training that has `unique` different ones: it has gone
through them seen / unique times. Where unique is not below seen, each sample was seen once.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.laws.curves import header, read_columns

REQUIRED = ("seen", "unique", "loss")
OPTIONAL = ("parameters", "rate", "seed")
# Sections of runs that must agree: what else differs is not what is asked.
ALIKE = ("grammar", "images", "network", "noise", "objective", "optimizer", "averages")


@dataclass(frozen=True)
class Loss:
    """A loss of one training.

    Attributes:
        seen: Samples that were trained on, repeats counted; in any unit, tokens say.
        unique: Different samples there are, in the same unit; not below `seen` in one pass.
        loss: Positive.
        parameters: Of the network; 0 where they are not told.
        rate: What tells trainings of several learning rates apart.
        seed: What tells trainings alike apart.
    """

    seen: float
    unique: float
    loss: float
    parameters: float = 0.0
    rate: str = ""
    seed: int = 0

    @property
    def passes(self) -> float:
        """How often each sample was seen; 1 at least."""
        return max(1.0, self.seen / self.unique)


@dataclass(frozen=True)
class Column:
    """Where a number of a row stands in a table.

    Attributes:
        name: Of the column.
        factor: What its numbers are multiplied by.
    """

    name: str
    factor: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "tuple[str, Column]":
        """Read NAME=COLUMN or NAME=COLUMN*FACTOR.

        Raises:
            UsageError: If it is not of that form, or NAME is none of a row's.

        >>> Column.parse("seen=tokens_1e9*1e9")
        ('seen', Column(name='tokens_1e9', factor=1000000000.0))
        """
        name, equals, rest = text.partition("=")
        if not equals or not rest:
            raise UsageError(f"--column {text!r} is not of the form NAME=COLUMN or NAME=COLUMN*1e9")
        if name not in (*REQUIRED, *OPTIONAL):
            raise unknown_name("name in --column", name, (*REQUIRED, *OPTIONAL))
        column, star, factor = rest.partition("*")
        try:
            times = float(factor) if star else 1.0
        except ValueError:
            times = math.nan
        if not 0 < times < math.inf:
            raise UsageError(f"--column {text!r}: {factor!r} is no positive factor")
        return name, cls(column, times)


def read_losses(paths: Sequence[Path], columns: Mapping[str, Column] | None = None) -> list[Loss]:
    """Return the rows of CSV tables and run folders.

    A table has the columns seen, unique and loss, and may have parameters, rate and seed. A run
    tells its validation loss at every log step; its stream is `fresh`, `epochs` or `finite`.

    Args:
        paths: Of files and folders.
        columns: What columns of tables are called, where otherwise.

    Raises:
        UsageError: If one is not there, holds something else, or runs differ in more than stream,
            learning rate and seed.
    """
    columns = columns or {}
    folders = [path for path in paths if path.is_dir()]
    found = [loss for path in paths if path not in folders for loss in _of_table(path, columns)]
    return [*found, *_of_runs(folders)]


def _of_table(path: Path, columns: Mapping[str, Column]) -> Iterator[Loss]:
    there = header(path)
    where = {name: columns.get(name, Column(name)) for name in (*REQUIRED, *OPTIONAL)}
    asked = [n for n in where if n in REQUIRED or n in columns or where[n].name in there]
    names = tuple(where[name].name for name in asked)
    read = read_columns(path, names)
    told = {name: read[where[name].name] * where[name].factor for name in asked}
    for name in ("seen", "unique", "loss", *(["parameters"] if "parameters" in told else [])):
        if len(wrong := np.flatnonzero(told[name] <= 0)):
            line = int(wrong[0])
            raise UsageError(
                f"{path}, line {line + 2}: {name} is {told[name][line]:g}, not positive"
            )
    for i in range(len(told["loss"])):
        row = {name: float(values[i]) for name, values in told.items()}
        rate, seed = row.pop("rate", None), int(row.pop("seed", 0))
        yield Loss(**row, rate="" if rate is None else f"{rate:g}", seed=seed)


def _of_runs(paths: Sequence[Path]) -> Iterator[Loss]:
    from diffprobe.foundations.settings import differences, to_settings
    from diffprobe.training.run_folder import RunFolder, validation_loss_of

    first: dict[str, Any] | None = None
    for path in paths:
        run = RunFolder(path)
        config = run.config()
        settings = to_settings(config.with_seed(0))
        alike = {key: settings[key] for key in ALIKE}
        first = first or alike
        if other := differences(first, alike):
            raise UsageError(
                f"{path} differs from {paths[0]} in more than its stream, learning rate and seed: "
                f"{other[0]}"
            )
        batch, stream = config.training.batch_size, config.stream
        if stream.name not in ("fresh", "epochs", "finite"):
            raise UsageError(
                f"{path} is trained on the stream {stream.name!r}; reuse is told of epochs or "
                "finite against fresh"
            )
        rate = json.dumps(settings["learning_rate"], sort_keys=True)
        name = validation_loss_of(config.weights)
        for line in run.metrics():
            if (seen := line["step"] * batch) and math.isfinite(line.get(name, math.nan)):
                unique = float(getattr(stream, "words", math.inf))
                loss = Loss(seen, unique, line[name], 0.0, rate, config.training.seed)
                yield dataclasses.replace(loss, unique=seen) if unique == math.inf else loss
