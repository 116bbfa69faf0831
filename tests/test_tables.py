import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.tables import SHOWN, Table, html_table, write_parquet


@dataclass(frozen=True)
class Squares(Table):
    """Whole numbers and their squares."""

    n: int

    def rows(self) -> list[dict[str, Any]]:
        return [{"x": x, "square": float(x * x), "even": x % 2 == 0} for x in range(self.n)]


def test_a_frame_has_the_rows() -> None:
    frame = Squares(5).to_frame()
    assert list(frame.columns) == ["x", "square", "even"]
    assert frame["square"].tolist() == [0, 1, 4, 9, 16]
    assert frame.dtypes.astype(str).tolist() == ["int64", "float64", "bool"]


def test_without_pandas_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[frame\]'"):
        Squares(5).to_frame()


def test_a_parquet_file_has_the_rows(tmp_path: Path) -> None:
    from pyarrow import parquet

    Squares(5).write_parquet(tmp_path / "squares.parquet")
    assert parquet.read_table(tmp_path / "squares.parquet").to_pylist() == Squares(5).rows()
    # Rows need not have the same columns.
    write_parquet(tmp_path / "two.parquet", [{"a": 1}, {"b": "x", "a": None}])
    read = parquet.read_table(tmp_path / "two.parquet").to_pylist()
    assert read == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_without_pyarrow_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[parquet\]'"):
        Squares(5).write_parquet(tmp_path / "squares.parquet")


def test_a_notebook_shows_the_first_rows() -> None:
    whole, cut = Squares(SHOWN)._repr_html_(), Squares(SHOWN + 1)._repr_html_()
    assert whole.count("<tr>") == cut.count("<tr>") == SHOWN + 1
    assert "<caption>Squares</caption>" in whole
    assert f"the first {SHOWN} of {SHOWN + 1} rows" in cut


def test_nothing_in_a_cell_is_markup() -> None:
    shown = html_table([{"<i>": "<script>"}, {"&": None}], "<b>")
    assert "<script>" not in shown
    assert "<caption>&lt;b&gt;</caption>" in shown
    assert "<th>&lt;i&gt;</th><th>&amp;</th>" in shown
    # A row without a column has an empty cell.
    assert shown.endswith("<tr><td></td><td></td></tr></table>")
