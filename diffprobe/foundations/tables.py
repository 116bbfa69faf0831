"""Results as rows: a data frame for pandas, a CSV or Parquet file, an HTML table for a notebook.

A result that holds many numbers says with `rows()` what a line of its table is; the rest follows.
"""

import csv
import html
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.atomic import atomic_file
from diffprobe.foundations.errors import UsageError

if TYPE_CHECKING:
    import pandas

SHOWN = 20  # rows of a table in a notebook


class Table(ABC):
    """A result that is rows of named numbers and texts."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a row, all of plain numbers, texts and None."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return the rows as a data frame of pandas.

        Raises:
            UsageError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "a data frame needs pandas, which is not installed: pip install 'diffprobe[frame]'"
            ) from error
        return pandas.DataFrame(self.rows())

    def write_parquet(self, path: str | Path) -> None:
        """Write the rows as a Parquet file, whole or not at all.

        Raises:
            UsageError: If pyarrow is not installed.
        """
        write_parquet(Path(path), self.rows())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return html_table(self.rows(), type(self).__name__)


def need_pyarrow() -> Any:
    """Return the module pyarrow.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "a Parquet file needs pyarrow, which is not installed: pip install 'diffprobe[parquet]'"
        ) from error
    return pyarrow


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as CSV, by default with the columns of the first; what is not defined is empty."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a Parquet file, with a column for each name that one of them has.

    Raises:
        UsageError: If pyarrow is not installed.
    """
    pyarrow = need_pyarrow()
    from pyarrow import parquet

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    with atomic_file(path) as partial:
        parquet.write_table(pyarrow.table(columns), partial)


def html_table(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Return rows as an HTML table, the first `SHOWN` of them; text is escaped.

    >>> html_table([{"a": "<b>", "n": 1.23456}], "x")
    '<table><caption>x</caption><tr><th>a</th><th>n</th></tr><tr><td>&lt;b&gt;</td><td>1.235</td></tr></table>'
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows[:SHOWN]
    )
    if len(rows) > SHOWN:
        caption = f"{caption}: the first {SHOWN} of {len(rows):,} rows"
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
