import itertools
import json

import pytest
import torch

from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import comparison
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.foundations.statistics import difference, holm, paired_difference

CUBE = hypercube(ParityConfig(4).build())


def planted(valid: int, invalid: int, illegible: int, seed: int = 0) -> Verdicts:
    words = CUBE.grammar.sample(valid + invalid, torch.Generator().manual_seed(seed))
    words[valid:, 0] ^= 1
    images = torch.cat([CUBE.render(words), torch.zeros(illegible, 1, 1, 4)])
    return judge(CUBE, images)


def test_planted_rates_and_differences_are_found() -> None:
    found = comparison.compare({"a": planted(80, 10, 10), "b": planted(45, 45, 10)})
    assert found.rates["a"]["grammatical"].count == 80
    assert found.rates["b"]["legible"].n == 100
    expected = difference(found.rates["a"]["grammatical"], found.rates["b"]["grammatical"])
    assert found.differences["grammatical"]["a", "b"] == expected
    assert expected.value == pytest.approx(80 / 90 - 45 / 90)
    assert found.differences["legible"]["a", "b"].value == 0
    assert found.chance == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}


def test_all_p_values_are_corrected_together() -> None:
    sets = {name: planted(n, 90 - n, 10) for name, n in (("a", 80), ("b", 70), ("c", 45))}
    found = comparison.compare(sets)
    pairs = list(itertools.combinations(sets, 2))
    raw = [found.differences[rate][pair].p for rate in comparison.RATES for pair in pairs]
    corrected = [found.corrected[rate][pair] for rate in comparison.RATES for pair in pairs]
    assert len(raw) == 6
    assert corrected == holm(raw)
    assert found.corrected["grammatical"]["b", "c"] > found.differences["grammatical"]["b", "c"].p


def test_pairs_are_compared_where_both_are_legible() -> None:
    a, b = planted(60, 30, 10), planted(40, 40, 20)
    found = comparison.compare({"a": a, "b": b}, paired=True)
    both = a.legible & b.legible
    assert found.differences["grammatical"]["a", "b"] == paired_difference(
        a.grammatical[both], b.grammatical[both]
    )
    assert found.differences["legible"]["a", "b"] == paired_difference(a.legible, b.legible)
    assert found.differences["grammatical"]["a", "b"].n == (80, 80)


def test_summary_lines_and_rows() -> None:
    sets = {"a": planted(80, 10, 10), "b": planted(45, 45, 10), "none": planted(0, 0, 20)}
    found = comparison.compare(sets)
    content = json.loads(json.dumps(plain(found.summary()), allow_nan=False))
    assert [each["name"] for each in content["sets"]] == list(sets)
    assert len(content["differences"]) == 6
    assert content["differences"][0]["p_corrected"] == 1
    lines = found.lines()
    assert any("they differ" in line for line in lines)
    assert any("not told apart" in line for line in lines)
    frame = found.to_frame().set_index(["samples", "rate"])
    assert frame.loc[("a", "grammatical"), "value"] == pytest.approx(80 / 90)
    assert frame.loc[("a", "grammatical"), "chance"] == pytest.approx(0.5)
    assert frame.loc[("b", "legible"), "n"] == 100
    assert frame["value"].isna().sum() == 1  # of no legible sample
    assert repr(found) == "<Comparison of a, b, none>"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="two sets"):
        comparison.compare({"a": planted(5, 5, 0)})
    with pytest.raises(UsageError, match="a has 10, b has 11"):
        comparison.compare({"a": planted(5, 5, 0), "b": planted(5, 6, 0)}, paired=True)
