"""Learning rates from a file."""

import csv
import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import with_text
from diffprobe.training.learning_rates import LearningRateKind, check_reaches

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

COLUMN = "lr"


@dataclass(frozen=True)
class CSVConfig(LearningRateKind):
    """The learning rates in the column `lr` of a CSV file, one row a step from the first on.

    Give `file`, and its text is stored in `rates`, so that a run does not depend on the file.
    """

    name: ClassVar[str] = "csv"
    file: str = ""
    rates: str = ""

    def resolved(self) -> "CSVConfig":
        """Return the same schedule with the file's text in `rates`."""
        return dataclasses.replace(self, rates=with_text(self, "rates"), file="")

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        import numpy as np

        rows = csv.DictReader(io.StringIO(self.resolved().rates))
        if COLUMN not in (rows.fieldnames or ()):
            there = ", ".join(rows.fieldnames or ()) or "nothing"
            raise UsageError(f"a schedule needs a column {COLUMN!r}; its first line has {there}")
        found = []
        for line, row in enumerate(rows, 2):
            try:
                found.append(float(row[COLUMN]))
            except (TypeError, ValueError) as error:
                told = f"line {line} of the schedule: {row[COLUMN]!r} is no learning rate"
                raise UsageError(told) from error
            if not 0 <= found[-1] < float("inf"):
                raise UsageError(f"line {line} of the schedule: {found[-1]} is no learning rate")
        check_reaches(len(found), steps)
        return np.array(found[:steps])
