import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import (
    clustered,
    difference,
    holm,
    paired_difference,
    wilson,
)


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


@pytest.mark.parametrize(("p", "alike"), [(0.5, 1.0), (0.9, 0.6), (0.97, 0.9), (0.3, 0.0)])
def test_intervals_of_parts_that_come_in_groups_cover_the_truth(p: float, alike: float) -> None:
    """A group's 1 to 8 parts are all alike in a share `alike` of groups, else independent."""
    random = torch.Generator().manual_seed(0)
    repeats, groups, covered, naive = 800, 150, 0, 0
    for _ in range(repeats):
        together = torch.rand(groups, 1, generator=random) < alike
        u, v = torch.rand(groups, 1, generator=random), torch.rand(groups, 8, generator=random)
        found = torch.where(together, u, v) < p
        sizes = torch.randint(1, 9, (groups,), generator=random)
        counts = (found & (torch.arange(8) < sizes[:, None])).sum(1)
        covered += clustered(counts, sizes).contains(p)
        naive += wilson(int(counts.sum()), int(sizes.sum())).contains(p)
    assert 0.92 < covered / repeats < 0.98
    assert naive / repeats < 0.8 or not alike


def test_groups_of_one_part_are_independent() -> None:
    found = clustered((torch.arange(300) < 60).long(), torch.ones(300).long())
    plain = wilson(60, 300)
    assert (found.value, found.count, found.n) == (plain.value, 60, 300)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-3)
    none = clustered(torch.zeros(40).long(), torch.full((40,), 9))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(wilson(0, 40).high, abs=0.01)
    assert clustered(torch.zeros(1).long(), torch.ones(1).long()).high == 1
    assert clustered(torch.zeros(0).long(), torch.zeros(0).long()).value is None
    with pytest.raises(UsageError, match="size of its group"):
        clustered(torch.tensor([3]), torch.tensor([2]))


@pytest.mark.parametrize(("count", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_are_refused(count: int, n: int) -> None:
    with pytest.raises(UsageError, match="impossible"):
        wilson(count, n)


def test_differences_are_those_of_newcombes_table() -> None:
    """Table II of the reference, method 10: 56/70 less 48/80, 9/10 less 3/10, 10/10 less 0/20."""
    for counts, low, high in (
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ):
        a, m, b, n = counts
        found = difference(wilson(a, m), wilson(b, n))
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_score_test_is_that_of_scipy(m: int, n: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, m)), data.draw(st.integers(0, n))
    found = difference(wilson(a, m), wilson(b, n))
    assert -1 <= found.low <= found.value <= found.high <= 1
    if 0 < a + b < m + n:
        theirs = chi2_contingency([[a, m - a], [b, n - b]], correction=False)
        assert found.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    else:
        assert found.p == 1


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_paired_test_is_the_binomial_one(b: int, c: int, same: int) -> None:
    outcomes = [(True, False)] * b + [(False, True)] * c + [(True, True)] * (same + 1)
    first, second = torch.tensor(outcomes).T
    found = paired_difference(first, second)
    theirs = binomtest(b, b + c).pvalue if b + c else 1.0
    assert found.p == pytest.approx(theirs, rel=1e-9)
    assert -1 <= found.low <= found.value <= found.high <= 1
    # Exchanging the two turns the interval round.
    turned = paired_difference(second, first)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_the_paired_interval_holds_what_the_score_does_not_reject() -> None:
    """The likelihood under each difference is maximised on a grid."""
    b, c, n = 12, 3, 40
    shares = torch.linspace(0, 1, 200_001, dtype=torch.float64)

    def rejected(delta: float) -> bool:
        first = shares + delta
        likelihood = b * first.log() + c * shares.log() + (n - b - c) * (1 - first - shares).log()
        q = shares[likelihood.nan_to_num(-torch.inf).argmax()].item()
        return (b - c - n * delta) ** 2 > 1.959964**2 * n * (2 * q + delta * (1 - delta))

    first = torch.arange(n) < b
    second = (torch.arange(n) >= b) & (torch.arange(n) < b + c)
    found = paired_difference(first, second)
    for end, outward in ((found.low, -1), (found.high, 1)):
        assert rejected(end + outward * 0.001)
        assert not rejected(end - outward * 0.001)


@pytest.mark.parametrize(("p", "q", "shared"), [(0.5, 0.6, 0.0), (0.9, 0.95, 0.6), (0.5, 0.5, 0.8)])
def test_intervals_of_differences_cover_the_truth(p: float, q: float, shared: float) -> None:
    """Cases alike in a share `shared` of pairs."""
    random, n, repeats = torch.Generator().manual_seed(0), 150, 1500
    paired = apart = 0
    for _ in range(repeats):
        u, v, w = torch.rand(3, n, generator=random)
        first = u < p
        together = torch.where(torch.rand(n, generator=random) < shared, u, v) < q
        paired += paired_difference(first, together).contains(p - q)
        rates = (wilson(int(x.sum()), n) for x in (first, w < q))
        apart += difference(*rates).contains(p - q)
    assert 0.93 < paired / repeats < 0.97
    assert 0.93 < apart / repeats < 0.97


def test_differences_without_observations() -> None:
    nothing = difference(wilson(0, 0), wilson(3, 4))
    assert (nothing.value, nothing.low, nothing.high, nothing.p) == (None, -1, 1, 1)
    assert str(nothing) == "undefined (no observations)"
    none = torch.zeros(0, dtype=torch.bool)
    assert paired_difference(none, none).value is None
    with pytest.raises(UsageError, match="not paired"):
        paired_difference(none, torch.zeros(1, dtype=torch.bool))
    text = str(paired_difference(torch.tensor([True, True]), torch.tensor([False, True])))
    assert text.startswith("+50.0 points")
    assert "2 pairs, p = 1" in text


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_rejects_step_by_step(p: list[float]) -> None:
    corrected = holm(p)
    order = sorted(range(len(p)), key=p.__getitem__)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(order):
            if p[index] * (len(p) - rank) > alpha:
                break
            rejected.add(index)
        assert rejected == {i for i, value in enumerate(corrected) if value <= alpha}
