import itertools
import json

import pytest
import torch

from diffprobe.datasets import WordList, hypercube
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


def test_other_grammars_and_pictures_are_not_compared() -> None:
    even = [hypercube(ParityConfig(length).build()) for length in (4, 4, 6)]
    words = CUBE.grammar.words()
    flipped = words ^ torch.tensor([1, 0, 0, 0])  # as many words, as likely by chance
    zero, one = (hypercube(WordList(each, 2)) for each in (words, flipped))
    for (a, b), columns in (
        ((even[0], even[1]), []),
        ((even[0], even[2]), ["Legible", "Grammatical and chance"]),
        ((zero, one), ["Grammatical and chance"]),
    ):
        random = torch.Generator().manual_seed(0)
        datasets = {"a": a, "b": b}
        sets = {n: judge(d, d.draw_images(20, random)) for n, d in datasets.items()}
        found = comparison.compare(sets, datasets=datasets, notes=["More."])
        assert len(found.notes) == len(columns) + 1
        for note, column in zip(found.notes, columns, strict=False):
            assert note.startswith(f"{column} cannot be compared across a | b, which ")
        compared = [rate for rate, pairs in found.differences.items() if pairs]
        left_out = [column.split()[0].lower() for column in columns]
        assert compared == [rate for rate in comparison.RATES if rate not in left_out]
        assert found.lines()[: len(found.notes)] == list(found.notes)
        assert found.summary()["notes"] == found.notes
        assert found.corrected.keys() == comparison.RATES.keys()
    # Without the datasets, what the verdicts tell of them.
    sets = {"a": judge(even[0], even[0].render(torch.zeros(9, 4).long()))}
    sets["b"] = judge(zero, zero.render(torch.zeros(9, 4).long()))
    assert len(comparison.compare(sets).notes) == 1  # other kinds of violations
    assert comparison.compare({"a": sets["a"], "c": sets["a"]}).notes == ()


def test_one_language_by_two_engines_is_the_same() -> None:
    listed = hypercube(WordList(CUBE.grammar.words(), 2))
    assert comparison._same_language(CUBE.grammar, listed.grammar)
    fewer = hypercube(WordList(CUBE.grammar.words()[1:], 2))
    assert not comparison._same_language(CUBE.grammar, fewer.grammar)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="two sets"):
        comparison.compare({"a": planted(5, 5, 0)})
    with pytest.raises(UsageError, match="a has 10, b has 11"):
        comparison.compare({"a": planted(5, 5, 0), "b": planted(5, 6, 0)}, paired=True)
