from pathlib import Path

import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.evaluation import Assessment, assess
from diffprobe.foundations.records import plain, read_record, write_record
from diffprobe.report import report_samples
from diffprobe.report.findings import findings


def test_the_json_has_every_number_with_its_interval_and_chance(tmp_path: Path) -> None:
    world = SymbolImages(DyckConfig(4, 2).build(), Glyphs.font("()[]"), (1, 4))
    random = torch.Generator().manual_seed(0)
    words = torch.cat(
        [
            world.grammar.sample(50, random),
            torch.tensor([[0, 1, 2, 1]]).expand(20, -1),  # ()[)
            torch.tensor([[0, 0, 0, 0]]).expand(10, -1),  # ((((
        ]
    )
    drawn = world.render(words)
    drawn[:5, :, :, 16:24] = 0.0
    content = report_samples(drawn, world, tmp_path).content
    assert {k: r["count"] for k, r in content["verdicts"].items()} == {
        "valid-novel": 45,
        "valid-memorised": 0,
        "invalid": 30,
        "illegible": 5,
    }
    assert (content["invalid"]["count"], content["invalid"]["n"]) == (30, 75)
    assert {k: r["count"] for k, r in content["violations"].items()} == {
        "wrong kind": 20,
        "left open": 10,
        "closes too early": 0,
    }
    assert {d: r["count"] for d, r in content["distances"].items()} == {"1": 20, "2": 10, "3": 0}
    assert sum(r["count"] for r in content["positions"]) == 20 + 2 * 10
    assert [r["count"] for r in content["unreadable"]["positions"]] == [0, 0, 5, 0]
    assert sum(r["count"] for r in content["unreadable"]["symbols"].values()) == 5
    assert content["pairs"]["cells"][0]["cells"] == [2, 3]
    assert content["pairs"]["symbols"][0]["symbols"] == ["[", ")"]
    assert content["pairs"]["symbols"][0]["count"] == 20
    assert sum(r["count"] for r in content["substitutions"]) == 40
    rates = [
        *content["violations"].values(),
        *content["positions"],
        *content["distances"].values(),
        content["pairs"]["paired"],
    ]
    for rate in rates:
        assert rate["low"] <= rate["value"] <= rate["high"]
        for line in ("uniform", "product"):
            chance = rate["chance"][line]
            assert chance["low"] <= chance["value"] <= chance["high"]
    for rate in [content["grammatical"], content["invalid"], *content["violations"].values()]:
        # Fonts are read without error: nothing to correct.
        assert rate["corrected"] == {
            k: pytest.approx(rate[k]) for k in ("value", "low", "high", "n")
        }
    assert content["reading"]["refused"]["high"] < 0.001
    assert content["reading"]["symbols"] == list("()[]")


def test_an_assessment_comes_back_from_its_record(tmp_path: Path) -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))
    random = torch.Generator().manual_seed(0)
    words = torch.randint(2, (80, 4), generator=random)
    split = FiniteWords(world.grammar, 3)
    found = assess(world.render(words), world, split)
    write_record(tmp_path / "assessment.npz", found)
    again = read_record(tmp_path / "assessment.npz", Assessment)
    assert isinstance(again, Assessment)
    assert torch.equal(again.verdicts.words, found.verdicts.words)
    assert again.verdicts.confidence.dtype == found.verdicts.confidence.dtype
    assert again.broken == found.broken
    assert again.chance == found.chance
    assert again.grammatical == found.grammatical
    assert again.memorisation.recalled == found.memorisation.recalled
    assert again.distribution.walsh == found.distribution.walsh
    # Everything that a report tells follows from it.
    assert plain(again.summary("01")) == plain(found.summary("01"))
    assert findings(again, "01") == findings(found, "01")


def test_rows_hold_each_rate_beside_chance() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))
    words = torch.tensor([[0, 0, 0, 0]] * 30 + [[0, 0, 0, 1]] * 10)
    found = assess(world.render(words), world)
    rows = {row["rate"]: row for row in found.rows()}
    assert (rows["grammatical"]["count"], rows["grammatical"]["n"]) == (30, 40)
    assert rows["grammatical"]["chance"] == pytest.approx(0.5)
    assert rows["odd parity"]["value"] == 0.25
    assert rows["odd parity"]["chance"] == found.chance["product"].kinds["odd parity"].value
    assert found.to_frame().set_index("rate").loc["legible", "value"] == 1
    assert repr(found) == "<Assessment of 40 samples>"
