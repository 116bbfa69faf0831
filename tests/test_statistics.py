import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from diffprobe.errors import UsageError
from diffprobe.statistics import wilson


@given(st.integers(1, 5000), st.data())
def test_intervals_are_those_of_scipy(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    theirs = binomtest(count, n).proportion_ci(method="wilson")
    ours = wilson(count, n)
    assert ours.value == count / n
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = torch.Generator().manual_seed(0)
    for p in (0.05, 0.5, 0.9):
        draws = torch.rand(2000, 200, generator=random) < p
        covered = [wilson(int(k), 200).contains(p) for k in draws.sum(1)]
        assert 0.92 < sum(covered) / len(covered) < 0.98


def test_nothing_observed() -> None:
    rate = wilson(0, 0)
    assert rate.value is None
    assert (rate.low, rate.high) == (0, 1)
    assert str(rate) == "undefined (0 of 0)"


@pytest.mark.parametrize(("count", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_are_refused(count: int, n: int) -> None:
    with pytest.raises(UsageError, match="impossible"):
        wilson(count, n)
