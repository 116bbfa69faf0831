from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu, norm
from scipy.stats import t as student
from score_populations import POPULATIONS, Draw, lognormal, mostly_zero, normal, rounded

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.ranks import Auroc, auroc


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
