"""Errors of components from tables, and proportions as a command line has them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.laws.curves import header, read_columns
from diffprobe.laws.falling_errors import Point

COMPONENT = "component"
NUMBERS = ("samples", "share", "total", "error")


def read_points(paths: Sequence[Path], columns: Mapping[str, str] | None = None) -> list[Point]:
    """Return the rows of CSV tables.

    A table has the columns component, error and samples, those of the component in training; or, in
    the place of samples, total, of the whole training, and share.

    Args:
        paths: Of files.
        columns: What columns are called, where otherwise.

    Raises:
        UsageError: If a file is not there, or a number is missing or not positive.
    """
    return [point for path in paths for point in _of_table(path, columns or {})]


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=COLUMN each.

    Raises:
        UsageError: If one is not of that form, or NAME is none of a table's.

    >>> parse_columns(["error=samples.invalid"])
    {'error': 'samples.invalid'}
    """
    found = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if not equals or not column:
            raise UsageError(f"--column {text!r} is not of the form NAME=COLUMN")
        if name not in (COMPONENT, *NUMBERS):
            raise unknown_name("name in --column", name, (COMPONENT, *NUMBERS))
        found[name] = column
    return found


def parse_shares(text: str) -> dict[str, float]:
    """Read NAME=SHARE,NAME=SHARE,….

    Raises:
        UsageError: If it is not of that form, or names a component twice.

    >>> parse_shares("text=0.9,facts=0.1")
    {'text': 0.9, 'facts': 0.1}
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, share = part.strip().rpartition("=")
        try:
            number = float(share)
        except ValueError:
            number = float("nan")
        if not equals or not name or number != number:
            raise UsageError(f"--test takes COMPONENT=SHARE,COMPONENT=SHARE,…, not {text!r}")
        if name in found:
            raise UsageError(f"--test names the component {name!r} twice")
        found[name] = number
    return found


def _of_table(path: Path, columns: Mapping[str, str]) -> list[Point]:
    there = header(path)
    where = {name: columns.get(name, name) for name in (COMPONENT, *NUMBERS)}
    by_share = where["samples"] not in there and where["share"] in there
    asked = ("share", "total", "error") if by_share else ("samples", "error")
    read = read_columns(path, tuple(where[name] for name in asked))
    told = {name: read[where[name]] for name in asked}
    for name, values in told.items():
        most = 1.0 if name == "share" else np.inf
        if len(wrong := np.flatnonzero(~((values > 0) & (values <= most)))):
            line = int(wrong[0])
            bound = "above 0 and at most 1" if name == "share" else "positive"
            raise UsageError(f"{path}, line {line + 2}: {name} is {values[line]:g}, not {bound}")
    samples = told["share"] * told["total"] if by_share else told["samples"]
    if where[COMPONENT] not in there:
        raise UsageError(f"{path} needs a column {where[COMPONENT]!r}; it has {', '.join(there)}")
    with path.open(encoding="utf-8-sig", newline="") as opened:
        names = [row[where[COMPONENT]].strip() for row in csv.DictReader(opened)]
    if "" in names:
        raise UsageError(f"{path}, line {names.index('') + 2}: the component has no name")
    return [
        Point(name, float(n), float(error))
        for name, n, error in zip(names, samples, told["error"], strict=True)
    ]
