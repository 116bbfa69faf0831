"""The table of a study: a row for each cell, measure and step, with its error and configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.tables import Table, write_csv, write_parquet
from diffprobe.studies.measures import Measure
from diffprobe.studies.places import LOG_SNR, STEP, along_with, label, matches, told
from diffprobe.studies.seeds import over_seeds, own_error

# What stands in a row beside the settings that are varied.
NUMBERS = ("measure", "log_snr", "value", "standard_error", "low", "high", "n")


@dataclass(frozen=True, repr=False)
class StudyTable(Table):
    """The numbers of one question.

    Attributes:
        content: Rows: "cell", "seed", each varied setting as it is called, "step" (None where a
            number is of no step), and `NUMBERS`.
        settings: Those that are varied -> what each value is called, in order.
        together: Settings that go hand in hand.
    """

    content: list[dict[str, Any]]
    settings: dict[str, list[str]]
    together: tuple[tuple[str, ...], ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return self.content

    def _with(self, rows: list[dict[str, Any]]) -> "StudyTable":
        return StudyTable(rows, self.settings, self.together)

    def by_seed(self, measure: str) -> "dict[int, StudyTable]":
        """Return the rows of a measure: seed -> table."""
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self.content:
            if row["measure"] == measure:
                found.setdefault(row["seed"], []).append(row)
        return {seed: self._with(rows) for seed, rows in found.items()}

    @property
    def told(self) -> list[str]:
        """The settings that tell runs apart; where a group has labels, those alone."""
        return told(self.settings, self.together)

    def values(self, name: str) -> list[str]:
        """Return what the values of a setting are called, in order."""
        return self.settings[name]

    def steps(self) -> list[int]:
        """Return the steps of the rows, in order."""
        return sorted({row[STEP] for row in self.content if row[STEP] is not None})

    def at(
        self, where: Mapping[str, Any], apart: Iterable[str] = ()
    ) -> dict[tuple[str, ...], dict[str, Any]]:
        """Return the rows at a place, of one measure and seed, by the settings left open.

        Args:
            where: Setting -> value; the last step of each run where none is given.
            apart: Settings that are not left open, nor are those that go hand in hand with them.
        """
        closed = {each for name in apart for each in along_with(name, self.together)}
        names = [name for name in self.settings if name not in closed]
        wanted = {k: v if k == STEP else label(v) for k, v in where.items()}
        runs: dict[str, list[dict[str, Any]]] = {}
        for row in self.content:
            runs.setdefault(row["cell"], []).append(row)
        found = {}
        for rows in runs.values():
            steps = sorted(row[STEP] for row in rows if row[STEP] is not None)
            for row in rows:
                if matches(row, wanted, steps):
                    found[tuple(row[name] for name in names)] = row
        return found

    def over_seeds(self) -> list[dict[str, Any]]:
        """Return a row for each measure, setting and step: "estimate" over seeds, and "seeds".

        A measure of all noise levels has a row for each of them. Of first steps, "never" tells how
        many of the seeds did not get there.
        """
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.content:
            level = row[LOG_SNR] if Measure.parse(row["measure"]).at_all_levels else None
            key = (row["measure"], *(row[name] for name in self.settings), row[STEP], level)
            groups.setdefault(key, []).append(row)
        found = []
        for (measure, *place, step, _), rows in groups.items():
            known = [row for row in rows if row["value"] is not None]
            levels = [row[LOG_SNR] for row in rows if row[LOG_SNR] is not None]
            found.append(
                {
                    "measure": measure,
                    **dict(zip(self.settings, place, strict=True)),
                    STEP: step,
                    "log_snr": sum(levels) / len(levels) if levels else None,
                    "estimate": over_seeds(
                        [row["value"] for row in known],
                        [own_error(row) for row in known],
                        share=Measure.is_share(measure),
                    ),
                    "seeds": [row["seed"] for row in known],
                    "never": sum(Measure.is_never(row) for row in known),
                }
            )
        return found

    def write_csv(self, path: Path) -> None:
        """Write the rows as CSV; what is not defined is empty."""
        write_csv(path, self.content, self.columns())

    def write_parquet(self, path: str | Path) -> None:
        """Write the rows as Parquet.

        Raises:
            UsageError: If pyarrow is not installed.
        """
        names = self.columns()
        write_parquet(Path(path), [{name: row[name] for name in names} for row in self.content])

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return ["cell", "seed", *self.settings, STEP, *NUMBERS]
