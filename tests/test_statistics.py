from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency, mannwhitneyu, norm
from scipy.stats import t as student
from score_populations import POPULATIONS, Draw, lognormal, mostly_zero, normal, rounded

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import (
    Auroc,
    auroc,
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


@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=40),
    st.lists(st.integers(0, 30), min_size=20, max_size=40),
)
def test_the_area_is_the_rank_statistic_with_ties_half(up: list[int], down: list[int]) -> None:
    result = area_of(up, down)
    theirs = mannwhitneyu(up, down).statistic / (len(up) * len(down))
    assert result.value == pytest.approx(theirs, abs=1e-12)
    assert (result.positives, result.negatives) == (len(up), len(down))
    assert 0 <= result.low <= result.value <= result.high <= 1
    # The test and the interval say the same.
    assert (result.p < 0.05) == (not result.low <= 0.5 <= result.high)
    turned = area_of(down, up)
    assert (turned.low, turned.high) == pytest.approx((1 - result.high, 1 - result.low), abs=1e-9)
    assert turned.p == pytest.approx(result.p)


def area_of(up: list[int], down: list[int]) -> Auroc:
    scores = torch.tensor([*up, *down]).float()
    return auroc(scores, torch.arange(len(scores)) < len(up))


def test_the_interval_is_delongs_by_all_pairs() -> None:
    random = np.random.default_rng(0)
    up, down = random.normal(1.2, 1, 25).round(1), random.normal(0, 2, 60).round(1)
    pairs = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    area = pairs.mean()
    a, b = pairs.mean(1).var(ddof=1) / 25, pairs.mean(0).var(ddof=1) / 60
    degrees = (a + b) ** 2 / (a**2 / 24 + b**2 / 59)
    logit, error = np.log(area / (1 - area)), np.sqrt(a + b) / (area * (1 - area))
    ends = 1 / (1 + np.exp(-np.array(student.interval(0.95, degrees, logit, error))))
    scores = torch.from_numpy(np.concatenate([up, down]))
    ours = auroc(scores, torch.arange(85) < 25)
    assert ours.value == pytest.approx(area)
    assert (ours.low, ours.high) == pytest.approx(tuple(ends))
    assert ours.p == pytest.approx(2 * student.sf(logit / error, degrees))


@pytest.mark.parametrize(("draw", "m", "n"), [(normal, 60, 200), (rounded, 150, 90)])
def test_the_test_agrees_with_mann_and_whitneys_where_only_the_place_differs(
    draw: Callable[[float], Draw], m: int, n: int
) -> None:
    for seed, shift in enumerate((0, 0.1, 0.2, 0.3, 0.4)):
        random = torch.Generator().manual_seed(seed)
        up, down = draw(shift)(m, random), draw(0)(n, random)
        ours = auroc(torch.cat([up, down]), torch.arange(m + n) < m)
        theirs = mannwhitneyu(up, down, method="asymptotic", use_continuity=False)
        assert norm.isf(ours.p / 2) == pytest.approx(norm.isf(theirs.pvalue / 2), rel=0.05, abs=0.1)


def test_where_nearly_all_scores_agree_the_spread_is_that_of_chance() -> None:
    """One of 30 negatives is not 0, so no positive tells of its own spread."""
    up, down = [0] * 25, [0] * 29 + [1]
    ours = area_of(up, down)
    theirs = mannwhitneyu(up, down, method="asymptotic", use_continuity=False)
    assert ours.value == pytest.approx(14.5 / 30)
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.02)


@pytest.mark.parametrize(
    ("name", "m", "n"),
    [
        ("normal, shift 0", 20, 50),
        ("normal, shift 1", 40, 80),
        ("normal, shift 2", 40, 80),
        ("normal, shift 0.3, deviations 3 and 1", 40, 80),
        ("lognormal, deviations 1.5 and 0.5", 20, 50),
        ("rounded, shift 1", 30, 300),
        ("0 but for 0.3 and 0.1", 40, 80),
        ("0 but for 0.6 and 0.05", 100, 300),
    ],
)
def test_intervals_of_areas_cover_the_truth(name: str, m: int, n: int) -> None:
    first, second, truth = POPULATIONS[name]
    random = torch.Generator().manual_seed(0)
    positive = torch.arange(m + n) < m
    missed_below = missed_above = 0
    repeats = 600
    for _ in range(repeats):
        scores = torch.cat([first(m, random), second(n, random)])
        result = auroc(scores, positive)
        missed_below += result.high < truth
        missed_above += result.low > truth
    # Two standard errors of 600 repeats, beyond 93 and 97 %.
    assert 0.91 < 1 - (missed_below + missed_above) / repeats < 0.985
    assert max(missed_below, missed_above) / repeats < 0.055


@pytest.mark.parametrize(("first", "second"), [(rounded(2), rounded(0)), (normal(2.5), normal(0))])
def test_intervals_of_nearly_separated_classes_cover_at_least_as_often_as_they_say(
    first: Draw, second: Draw
) -> None:
    """Few of one class: without the floor 89 to 92 % do."""
    random = torch.Generator().manual_seed(0)
    up, down = (draw(200_000, random).double() for draw in (first, second))
    truth = mannwhitneyu(up, down).statistic / 200_000**2
    positive = torch.arange(320) < 20
    covered = 0
    for _ in range(400):
        found = auroc(torch.cat([first(20, random), second(300, random)]), positive)
        covered += found.low <= truth <= found.high
    assert covered / 400 > 0.95


@pytest.mark.parametrize("draw", [normal(0), mostly_zero(0.3), lognormal(0, 2)])
def test_a_test_at_5_percent_rejects_that_often_where_the_area_is_a_half(draw: Draw) -> None:
    random = torch.Generator().manual_seed(0)
    positive = torch.arange(160) < 40
    rejected = sum(
        auroc(torch.cat([draw(40, random), draw(120, random)]), positive).p < 0.05
        for _ in range(600)
    )
    assert 0.02 < rejected / 600 < 0.08


def test_perfect_separation_leaves_doubt_that_shrinks_with_the_smaller_class() -> None:
    scores, positive = torch.arange(60.0), torch.arange(60) >= 35
    best, worst = auroc(scores, positive), auroc(-scores, positive)
    assert (best.value, best.high) == (1, 1)
    assert best.low == pytest.approx(binomtest(25, 25).proportion_ci().low)
    assert best.p == worst.p == pytest.approx(binomtest(25, 25).pvalue)
    assert (worst.value, worst.low) == (0, 0)
    assert worst.high == pytest.approx(1 - best.low)


def test_a_constant_score_is_exactly_chance() -> None:
    result = auroc(torch.zeros(50), torch.arange(50) < 20)
    assert (result.value, result.low, result.high, result.p) == (0.5, 0.5, 0.5, 1)


def test_too_few_of_a_class_and_say_so() -> None:
    result = auroc(torch.arange(50.0), torch.arange(50) < 19)
    assert result.value is None
    assert (result.low, result.high, result.p) == (0, 1, 1)
    assert str(result) == "undefined (19 against 31: at least 20 of each are needed)"
    assert str(auroc(torch.arange(50.0), torch.arange(50) >= 20)).startswith("1.000 (95 % interval")


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    positive = torch.arange(50) < 20
    with pytest.raises(UsageError, match="not finite"):
        auroc(torch.full((50,), torch.nan), positive)
    with pytest.raises(UsageError, match="do not fit"):
        auroc(torch.zeros(49), positive)


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
