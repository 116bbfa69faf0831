import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from coverage_parts.table import Row, picks, summary

from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import Interval


def told(half: float, off: float) -> Interval:
    """A thousand intervals around numbers that are off by a normal error of 1 and a bias."""
    random = torch.Generator().manual_seed(0)
    value = torch.randn(1000, generator=random, dtype=torch.float64) + off
    spread = torch.full_like(value, half)
    return Interval(value, spread / 2, value - spread, value + spread, torch.full((1000,), 50))


@pytest.mark.parametrize(
    ("half", "off", "mark"),
    [(1.96, 0.0, ""), (1.5, 0.0, "LOW"), (1.96, 1.0, "LOW"), (3.0, 0.0, "above")],
)
def test_what_covers_too_seldom_is_marked(half: float, off: float, mark: str) -> None:
    row = Row.of("here", "a number", told(half, off), 0.0)
    assert row.covered == pytest.approx(told(half, off).contains(0.0).double().mean().item())
    assert str(row).split("told")[1].strip() == mark


def test_what_is_not_told_does_not_count() -> None:
    found = told(1.96, 0.0)
    half = intervals.gated(found, torch.arange(1000) < 500)
    row = Row.of("here", "a number", half, 0.0)
    assert (row.told, row.repeats) == (0.5, 500)
    assert row.covered == pytest.approx(found[:500].contains(0.0).double().mean().item())
    nothing = Row.of("here", "another", intervals.gated(found, torch.zeros(1000).bool()), 0.0)
    assert "no interval told" in str(nothing)


def test_the_summary_names_where_a_number_is_covered_least() -> None:
    rows = [
        Row.of(where, "a number", told(half, 0.0), 0.0)
        for where, half in (("here", 1.96), ("there", 1.0), ("elsewhere", 1e-3))
    ]
    (line,) = summary(rows)[1:]
    assert "there" in line
    assert "(1 within ± 0.001)" in line


def test_draws_are_with_replacement_and_the_same_every_time() -> None:
    index = picks(5, 100, 20)
    assert index.shape == (100, 20)
    assert index.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(index, picks(5, 100, 20))
