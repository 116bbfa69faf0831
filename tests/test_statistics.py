import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, mannwhitneyu

from diffprobe.errors import UsageError
from diffprobe.statistics import auroc, wilson


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


@given(
    st.lists(st.integers(0, 6), min_size=5, max_size=30),
    st.lists(st.integers(0, 6), min_size=5, max_size=30),
)
def test_the_area_is_the_rank_statistic_with_ties_half(up: list[int], down: list[int]) -> None:
    scores = torch.tensor([*up, *down]).float()
    result = auroc(scores, torch.arange(len(scores)) < len(up), resamples=50)
    theirs = mannwhitneyu(up, down).statistic / (len(up) * len(down))
    assert result.value == pytest.approx(theirs, abs=1e-12)
    assert (result.positives, result.negatives) == (len(up), len(down))
    assert 0 <= result.low <= result.high <= 1


def test_the_interval_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    up, down = random.normal(1.2, 1, 25), random.normal(0, 2, 60)

    def area(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return (x[..., :, None] > y[..., None, :]).mean((-1, -2))

    theirs = bootstrap((up, down), area, n_resamples=9999, method="BCa", rng=random)
    scores = torch.from_numpy(np.concatenate([up, down]))
    ours = auroc(scores, torch.arange(85) < 25, resamples=9999)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.006)


@pytest.mark.parametrize(("shift", "m", "n"), [(0.0, 40, 40), (1.2, 40, 40), (0.8, 15, 200)])
def test_intervals_of_areas_cover_the_truth(shift: float, m: int, n: int) -> None:
    """Two normal populations: the area is Phi(shift / sqrt 2)."""
    truth = torch.special.ndtr(torch.tensor(shift / 2**0.5)).item()
    random = torch.Generator().manual_seed(0)
    positive = torch.arange(m + n) < m
    missed_below = missed_above = 0
    repeats = 400
    for seed in range(repeats):
        scores = torch.randn(m + n, generator=random) + shift * positive
        result = auroc(scores, positive, resamples=500, seed=seed)
        missed_below += result.high < truth
        missed_above += result.low > truth
    assert 0.91 < 1 - (missed_below + missed_above) / repeats < 0.98
    assert max(missed_below, missed_above) / repeats < 0.06


def test_the_same_for_large_samples_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    scores, positive = torch.randn(300, generator=random), torch.arange(300) < 150
    whole = auroc(scores, positive)
    monkeypatch.setattr("diffprobe.statistics.CHUNK_ELEMENTS", 20_000)
    chunked = auroc(scores, positive)
    assert chunked.value == whole.value
    assert chunked.low == pytest.approx(whole.low, abs=0.01)


def test_perfect_separation_leaves_doubt_that_shrinks_with_the_smaller_class() -> None:
    scores, positive = torch.arange(30.0), torch.arange(30) >= 20
    best, worst = auroc(scores, positive), auroc(-scores, positive)
    assert (best.value, best.high) == (1, 1)
    assert best.low == pytest.approx(binomtest(10, 10).proportion_ci().low)
    assert (worst.value, worst.low) == (0, 0)
    assert worst.high == pytest.approx(1 - best.low)


def test_a_constant_score_is_exactly_chance() -> None:
    result = auroc(torch.zeros(20), torch.arange(20) < 8)
    assert (result.value, result.low, result.high) == (0.5, 0.5, 0.5)


def test_too_few_of_a_class_and_say_so() -> None:
    result = auroc(torch.arange(20.0), torch.arange(20) < 4)
    assert result.value is None
    assert (result.low, result.high) == (0, 1)
    assert str(result) == "undefined (4 against 16: at least 5 of each are needed)"
    assert str(auroc(torch.arange(20.0), torch.arange(20) >= 10)).startswith("1.000 (95 % interval")


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    positive = torch.arange(10) < 5
    with pytest.raises(UsageError, match="not finite"):
        auroc(torch.full((10,), torch.nan), positive)
    with pytest.raises(UsageError, match="do not fit"):
        auroc(torch.zeros(9), positive)
