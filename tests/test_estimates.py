import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffprobe.evaluation.reading import Corrected
from diffprobe.evaluation.words.estimators import WordStatistic
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.ranks import Auroc
from diffprobe.foundations.records import interval
from diffprobe.foundations.statistics import Rate, wilson


@given(st.floats(-2, 2), st.floats(0, 1), st.floats(0, 1))
def test_words_say_what_the_numbers_are(value: float, below: float, above: float) -> None:
    """Read back from the words, the ends are within the digits that are printed."""
    text = str(Estimate(value=value, low=value - below, high=value + above, n=9))
    if "±" in text:
        centre, far = map(float, text.split(" ± "))
        assert abs(below - above) <= 0.1 * (below + above) + 1e-3 + 1e-9
        assert far == pytest.approx((below + above) / 2, abs=6e-4)
    else:
        centre, ends = float(text.split(" (")[0]), text.split(" (")[1].rstrip(")").split(" to ")
        assert float(ends[0]) == pytest.approx(value - below, abs=6e-4)
        assert float(ends[1]) == pytest.approx(value + above, abs=6e-4)
    assert centre == pytest.approx(value, abs=6e-4)


def test_what_is_not_told_is_said_so() -> None:
    assert str(Estimate(value=None, low=None, high=None, n=0)) == "undefined"
    alone = Estimate(value=0.25, low=None, high=None, n=3)
    assert str(alone) == "0.250 (no interval)"
    assert not alone.contains(0.25)
    assert repr(alone) == "<Estimate 0.250 (no interval)>"


def test_a_record_in_words_is_the_estimate_in_words() -> None:
    found = Estimate(value=0.5, low=0.48, high=0.52, n=100)
    assert interval(found.rows()[0]) == str(found) == "0.500 ± 0.020"


@pytest.mark.parametrize("kind", [Rate, Auroc, Corrected, WordStatistic])
def test_every_kind_of_number_is_an_estimate(kind: type[Estimate]) -> None:
    assert issubclass(kind, Estimate)
    own = [f.name for f in dataclasses.fields(kind)][:6]
    assert own == [f.name for f in dataclasses.fields(Estimate)]


def test_rows_leave_out_what_an_estimate_need_not_have() -> None:
    (row,) = wilson(8, 10).rows()
    assert set(row) == {"value", "low", "high", "n", "count"}
    (row,) = Estimate(value=1.0, low=None, high=None, n=1, chance=0.5).rows()
    assert row == {"value": 1.0, "low": None, "high": None, "n": 1, "chance": 0.5}


def test_a_notebook_shows_a_rate() -> None:
    shown = wilson(8, 10)._repr_html_()
    assert "<caption>Rate</caption>" in shown
    for cell in ("<th>count</th>", "<td>8</td>", "<td>0.8</td>", "<td>0.4902</td>"):
        assert cell in shown
