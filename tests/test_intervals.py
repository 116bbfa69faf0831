import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import FEWEST, effective_number, from_influence, mean, ratio
from diffprobe.foundations.records import estimate, interval

REPEATS = 4000


def covered(values: Tensor, truth: float, **options: float) -> float:
    return mean(values, **options).contains(truth).double().mean().item()


def test_a_symmetric_mean_has_students_interval() -> None:
    """With no skewness Hall's ends are Student's."""
    half = torch.linspace(0.1, 3, 12, dtype=torch.float64)
    values = torch.cat([half, -half]) + 5
    found = mean(values)
    expected = stats.t.interval(0.95, 23, loc=5, scale=stats.sem(values.numpy()))
    assert (found.low.item(), found.high.item()) == pytest.approx(expected)
    assert found.standard_error.item() == pytest.approx(stats.sem(values.numpy()))
    assert found.n == 24


def test_halls_transformation_is_inverted() -> None:
    x = torch.tensor([-2.0, -0.5, 0.7, 2.0], dtype=torch.float64)
    n, skewness = torch.tensor(50.0), torch.tensor(1.3)
    y = intervals._untransformed(x, skewness, n)
    a, b = skewness / (3 * n.sqrt()), skewness / (6 * n.sqrt())
    assert torch.allclose(y + a * y**2 + a**2 * y**3 / 3 + b, x, atol=1e-6)


@pytest.mark.parametrize("n", [30, 128])
def test_normal_means_are_covered(n: int) -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(REPEATS, n, generator=random, dtype=torch.float64)
    assert 0.94 < covered(values, 0.0) < 0.97


def test_skewed_means_are_covered_where_students_are_not() -> None:
    """Shares near 1, such as most LDRs: a few inputs are far off."""
    random = torch.Generator().manual_seed(0)
    values = 1 - torch.rand(REPEATS, 128, generator=random, dtype=torch.float64) ** 12
    truth = 1 - 1 / 13
    error = values.std(1) / 128**0.5
    student = ((values.mean(1) - truth).abs() < 1.98 * error).double().mean().item()
    assert student < 0.94
    assert 0.94 < covered(values, truth) < 0.985


def test_sources_used_more_than_once_count_once() -> None:
    """Twenty pictures, 128 inputs: the spread over pictures is what counts."""
    random = torch.Generator().manual_seed(0)
    sources = torch.arange(128) % 20
    hits = naive = 0
    for _ in range(1000):
        pictures = torch.randn(20, generator=random, dtype=torch.float64)
        noise = 0.3 * torch.randn(128, generator=random, dtype=torch.float64)
        values = pictures[sources] + noise
        found = mean(values, sources)
        assert found.n == 20
        hits += bool(found.contains(0.0))
        naive += bool(mean(values).contains(0.0))
    assert naive < 700
    assert 930 < hits < 975


def test_as_many_sources_as_inputs_are_none() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, sourced = mean(values), mean(values, torch.randperm(40))
    assert sourced.low.item() == pytest.approx(plain.low.item())
    assert sourced.high.item() == pytest.approx(plain.high.item())


def test_what_is_not_defined_is_left_out() -> None:
    values = torch.rand(2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    holed = values.clone()
    holed[1, 25:] = math.nan
    found = mean(holed)
    assert found.n.tolist() == [40, 25]
    assert found[1].value.item() == pytest.approx(mean(values[1, :25]).value.item())
    assert found[1].low.item() == pytest.approx(mean(values[1, :25]).low.item())


def test_few_inputs_make_no_interval() -> None:
    found = mean(torch.rand(FEWEST - 1))
    assert found.value.isfinite()
    assert found.low.isnan()
    assert interval(estimate(found)).endswith("(no interval)")
    assert interval(estimate(mean(torch.full((20,), math.nan)))) == "undefined"


def test_no_interval_is_narrower_than_the_resolution() -> None:
    found = mean(torch.ones(50), resolution=1e-3)
    assert found.standard_error == 0
    assert (found.low.item(), found.high.item()) == pytest.approx((0.999, 1.001))
    assert mean(torch.ones(50)).low == 1


def test_a_ratio_ruled_by_few_inputs_has_no_interval() -> None:
    random = torch.Generator().manual_seed(0)
    weights = torch.rand(100, generator=random, dtype=torch.float64)
    even = ratio(weights * 0.3, weights)
    assert even.value.item() == pytest.approx(0.3)
    assert even.contains(0.3)
    weights[0] = 1000
    ruled = ratio(weights * 0.3, weights)
    assert ruled.value.item() == pytest.approx(0.3)
    assert ruled.low.isnan()
    assert effective_number(weights) < 2


def test_ratios_are_covered() -> None:
    random = torch.Generator().manual_seed(0)
    below = torch.rand(REPEATS, 100, generator=random, dtype=torch.float64) + 0.2
    above = below * torch.rand(REPEATS, 100, generator=random, dtype=torch.float64)
    assert 0.94 < ratio(above, below).contains(0.5).double().mean() < 0.97


def test_sources_must_fit() -> None:
    with pytest.raises(UsageError, match="do not fit 20 inputs"):
        from_influence(torch.tensor(0.0), torch.zeros(20), torch.arange(19))


def test_an_interval_that_is_not_symmetric_is_written_out() -> None:
    random = torch.Generator().manual_seed(0)
    values = 1 - torch.rand(100, generator=random, dtype=torch.float64) ** 30
    assert "to" in interval(estimate(mean(values)))
    assert interval(estimate(mean(torch.randn(100, generator=random)))).count("±") == 1


def test_one_of_the_numbers_is_an_estimate() -> None:
    values = torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = mean(values)
    one = found.estimate((1, 2))
    expected = stats.t.interval(0.95, 39, loc=values[1, 2].mean(), scale=stats.sem(values[1, 2]))
    assert one.value == pytest.approx(values[1, 2].mean().item())
    assert one.standard_error == pytest.approx(stats.sem(values[1, 2]))
    assert one.low <= expected[0] < expected[1] <= one.high
    assert one.n == 40
    assert str(one) == interval(estimate(found, (1, 2)))
    untold = mean(torch.rand(3)).estimate()
    assert (untold.standard_error, untold.low, untold.high) == (None, None, None)
    assert mean(torch.full((20,), math.nan)).estimate().value is None


def test_a_frame_has_a_row_for_each_number() -> None:
    found = mean(torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(0)))
    frame = found.to_frame().set_index(["axis 0", "axis 1"])
    assert len(frame) == 6
    assert frame.loc[(1, 2), "high"] == found.high[1, 2].item()
    assert repr(found) == "<Interval of 2 × 3 numbers>"
    assert repr(found[0, 1]) == f"<Interval {found.estimate((0, 1))}>"


def test_a_difference_of_unequal_classes_is_covered_as_welchs_is() -> None:
    """Few inputs that vary much beside many that vary little, and the other way round."""
    random = torch.Generator().manual_seed(0)
    few = torch.randn(REPEATS, 20, generator=random, dtype=torch.float64)
    many = torch.randn(REPEATS, 300, generator=random, dtype=torch.float64)
    for few_spread, many_spread in ((3.0, 1.0), (1.0, 12.0), (1.0, 1.0)):
        first, second = mean(few_spread * few + 2), mean(many_spread * many)
        found = intervals.difference(first, second)
        assert 0.94 < found.contains(2.0).double().mean().item() < 0.97
        welch = few_spread**2 * few.var(1) / 20 + many_spread**2 * many.var(1) / 300
        torch.testing.assert_close(found.standard_error, welch.sqrt())


def test_a_difference_leans_as_its_parts_do() -> None:
    one, half = (torch.tensor(x, dtype=torch.float64) for x in (1.0, 0.5))
    n = torch.tensor(20)
    exact = intervals.Interval(one, 0 * one, one, one, n)
    leaning = intervals.Interval(half, half, half - 0.1, half + 0.4, n + 5)
    found = intervals.difference(exact, leaning)
    assert (found.value, found.n) == (0.5, 20)
    assert (found.low.item(), found.high.item()) == pytest.approx((0.1, 0.6))
    back = intervals.difference(leaning, exact)
    assert (back.low.item(), back.high.item()) == pytest.approx((-0.6, -0.1))
