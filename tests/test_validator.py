import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffprobe.cli import run
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import assess, check, compare_checked
from diffprobe.foundations.errors import UsageError, ValidatorError
from diffprobe.foundations.records import read_record
from diffprobe.foundations.statistics import difference, paired_difference, wilson
from diffprobe.report import report_checked, report_samples

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))
WORDS = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]])
IMAGES = WORLD.render(WORDS)
IMAGES[3] = 0.0  # illegible
IMAGES[4, 0, 0, 0] = math.nan


def runs_of_ones(words: list[str]) -> list[list[str]]:
    return [["three in a row"] if "111" in word else [] for word in words]


def brightness(images: np.ndarray) -> dict[str, Any]:
    return {"bright": images.mean((1, 2, 3)) > -0.2, "never": [False] * len(images)}


def test_words_are_those_of_legible_samples() -> None:
    seen: list[str] = []

    def record(words: list[str]) -> list[None]:
        seen.extend(words)
        return [None] * len(words)

    check(IMAGES, record, WORLD)
    assert seen == ["0000", "1111", "0111"]
    found = check(IMAGES, runs_of_ones, WORLD)
    assert found.asked.tolist() == [True, True, True, False, False]
    assert found.kinds["three in a row"].tolist() == [False, True, True, False, False]
    assert found.rates() == {"three in a row": wilson(2, 3)}
    assert found.wrong_rate == wilson(2, 3)
    assert repr(found) == f"<Checked 3 samples by {__name__}:runs_of_ones: {wilson(2, 3)}>"
    assert found.to_frame()["kind"].tolist() == ["any", "three in a row"]


def test_words_of_longer_names_are_tuples() -> None:
    drawn = WORLD.glyphs
    names = ("red", "blue")
    glyphs = Glyphs(drawn.images, drawn.counts, names, drawn.radius, drawn.bandwidth)
    world = SymbolImages(WORLD.grammar, glyphs, (1, 4))
    found = check(IMAGES, lambda words: [list({*word}) for word in words], world)
    assert found.kinds["red"].tolist() == [True, False, True, False, False]


def test_images_are_those_with_possible_values() -> None:
    def shapes(images: np.ndarray) -> list[str]:
        assert images.shape == (4, 1, 8, 32)
        assert images.dtype == np.float32
        return ["", "", "", "grey"]

    found = check(IMAGES, shapes)
    assert found.asked.tolist() == [True, True, True, True, False]
    assert found.kinds["grey"].tolist() == [False, False, False, True, False]
    found = check(IMAGES, brightness)
    assert list(found.kinds) == ["bright", "never"]
    assert found.rates()["never"] == wilson(0, 4)


def test_an_attribute_says_what_is_taken() -> None:
    class Always:
        takes = "images"

        def __call__(self, x: np.ndarray) -> dict[str, list[int]]:
            return {"wrong": [1] * len(x)}

    assert check(IMAGES, Always()).wrong_rate == wilson(4, 4)


def test_it_stands_beside_the_grammar(tmp_path: Path) -> None:
    report = report_samples(IMAGES, WORLD, tmp_path, validator=runs_of_ones)
    assert report.content["grammatical"]["count"] == 2  # 0111 is odd
    told = json.loads((tmp_path / "report.json").read_text())["validator"]
    assert told["takes"] == "words"
    assert (told["asked"], told["any"]["count"], told["any"]["n"]) == (3, 2, 3)
    assert told["kinds"]["three in a row"]["low"] == pytest.approx(wilson(2, 3).low)
    assert "three in a row" in report.page.read_text()
    assert "three in a row" in (tmp_path / "summary.md").read_text()
    assert any("finds fault with 66.7%" in line for line in report.content["findings"])
    with (tmp_path / "samples.csv").open(newline="") as file:
        column = [row["validator"] for row in csv.DictReader(file)]
    assert column == ["", "three in a row", "three in a row", "", ""]
    rows = assess(IMAGES, WORLD, validator=runs_of_ones).rows()
    assert rows[-1]["rate"].endswith("runs_of_ones: three in a row")


def test_images_without_a_grammar_have_a_report(tmp_path: Path) -> None:
    report = report_checked((IMAGES + 1) / 2, brightness, tmp_path, title="<b>theirs")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content == report.content
    assert content["schema"] == "diffprobe-checked/1"
    assert content["broken"] == {"not_finite": [4], "out_of_range": []}
    assert content["validator"]["any"]["n"] == 4
    assert "read as floats in [0, 1]" in content["findings"][0]
    page = report.page.read_text()
    assert "<b>theirs" not in page
    assert page.count("data:image/png;base64,") == sum(
        1 for found in (report.checked.wrong, ~report.checked.wrong) if found.any()
    )
    assert "<script" not in page
    with (tmp_path / "samples.csv").open(newline="") as file:
        assert [row["asked"] for row in csv.DictReader(file)] == ["yes"] * 4 + ["no"]
    assert "| never | 0.0% |" in (tmp_path / "summary.md").read_text()


def test_what_it_finds_in_several_sources_is_compared() -> None:
    sets = {name: check(images, brightness) for name, images in (("a", IMAGES), ("b", -IMAGES))}
    sets["c"] = check(IMAGES, lambda images: [["dim"]] * len(images))
    found = compare_checked(sets)
    assert found.rates["a"] == {
        "any": wilson(1, 4),
        "bright": wilson(1, 4),
        "never": wilson(0, 4),
    } | {"dim": wilson(0, 4)}
    assert found.differences["any"]["a", "c"] == difference(wilson(1, 4), wilson(4, 4))
    assert len(found.differences) == 4
    assert list(found.differences["dim"]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(row["chance"] is None for row in found.rows())
    paired = compare_checked(sets, paired=True)
    shown = sets["a"].asked
    assert paired.differences["any"]["a", "b"] == paired_difference(
        sets["a"].wrong[shown], sets["b"].wrong[shown]
    )
    with pytest.raises(UsageError, match="paired sets have as many samples each, but a has 5, b"):
        compare_checked({**sets, "b": check(IMAGES[:3], brightness)}, paired=True)


@pytest.mark.drawn
def test_the_command_line_compares_several_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "def f(images):\n    return {'d|rk': images.mean((1, 2, 3)) < 0}\n"
    (tmp_path / "own_checks_e.py").write_text(code)
    for name, images in (("a", IMAGES), ("b", -IMAGES)):
        np.savez(tmp_path / f"{name}.npz", images=images.numpy())
    assert run(["report", "a.npz", "b.npz", "--validator", "own_checks_e:f"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("a: 1 of 5 samples hold values that are") for line in lines)
    assert f"a: d|rk {wilson(3, 4)}" in lines
    assert any(line.startswith("d|rk, a less b: ") for line in lines)
    record = read_record(tmp_path / "comparison" / "comparison.json")
    assert [each["any"]["count"] for each in record["sets"]] == [3, 0]
    assert "| samples | any | d\\|rk |" in (tmp_path / "comparison" / "comparison.md").read_text()
    assert (tmp_path / "comparison" / "comparison.png").stat().st_size > 1000


def broken(words: list[str]) -> list[Any]:
    return [word[9] for word in words]


@pytest.mark.parametrize(
    ("validator", "message"),
    [
        (lambda words: [[]], "returned 1 entries for 3 samples"),
        (lambda words: [True] * 3, "returned True for sample 0; it must be a list of names"),
        (lambda words: [[3], [], []], "returned 3 where the name of a kind is due"),
        (lambda words: "odd", "returned str; it must return the kinds"),
        (lambda words: None, "returned NoneType"),
        (lambda words: {"odd": [True]}, r"returned \(1,\) values for “odd”; there are 3 samples"),
        (lambda words: {"odd": torch.zeros(3, 2)}, r"returned \(3, 2\) values"),
        (lambda words: {"odd": [0.5] * 3}, "returned numbers for “odd”, not booleans"),
        (lambda words: {"odd": ["a", "b", "c"]}, "returned no booleans for “odd”"),
        (lambda x: [], "must take 'words' or 'images': name its argument so .it has x."),
        (print, "must take"),
        (3, "is no function but int"),
    ],
)
def test_what_cannot_be_taken_is_refused(validator: Callable[..., Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(IMAGES, validator, WORLD)


def test_words_need_a_dataset() -> None:
    with pytest.raises(UsageError, match="takes words, and without a dataset none is read"):
        check(IMAGES, runs_of_ones)


def test_an_error_in_the_users_code_is_told_by_its_own_line() -> None:
    with pytest.raises(ValidatorError) as error:
        check(IMAGES, broken, WORLD)
    line = broken.__code__.co_firstlineno + 1
    told = str(error.value)
    assert "failed: IndexError: string index out of range" in told
    assert f"{__file__}, line {line}, in " in told
    assert "return [word[9] for word in words]" in told
    assert "diffprobe/evaluation" not in told


def test_modules_are_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "def ones(words):\n    print('asked')\n    return [['one'] * ('1' in w) for w in words]\n"
    )
    (tmp_path / "own_checks_a.py").write_text(code)
    (tmp_path / "own_checks_b.py").write_text("def f(words):\n    return (\n")
    (tmp_path / "own_checks_c.py").write_text("limit = 1 / 0\n")
    (tmp_path / "own_checks_d.py").write_text("import no_such_module\n")
    assert check(IMAGES, "own_checks_a:ones", WORLD).wrong_rate == wilson(2, 3)
    assert capsys.readouterr() == ("", "asked\n")  # results go to stdout, and nothing else
    for name, kind, message in (
        ("own_checks_b:f", ValidatorError, "SyntaxError.*own_checks_b.py, line 2"),
        ("own_checks_c:f", ValidatorError, "ZeroDivisionError.*own_checks_c.py, line 1"),
        ("own_checks_d:f", ValidatorError, "No module named 'no_such_module'.*_d.py, line 1"),
        ("own_checks_a:one", UsageError, "unknown function in own_checks_a 'one': did you mean"),
        ("own_check_a:ones", UsageError, "unknown module 'own_check_a': did you mean"),
        ("own_checks_a.py:ones", UsageError, "its file: own_checks_a:ones"),
        ("own_checks_a", UsageError, "MODULE:FUNCTION"),
    ):
        with pytest.raises(kind, match=message):
            check(IMAGES, name, WORLD)
