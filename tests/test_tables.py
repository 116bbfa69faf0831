import sys
from dataclasses import dataclass
from typing import Any

import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.tables import SHOWN, Table, html_table


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
    with pytest.raises(UsageError, match="pip install pandas"):
        Squares(5).to_frame()


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
