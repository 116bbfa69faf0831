import csv
import json
import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from diffprobe.datasets import Glyphs, SymbolImages, WordList
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.report import assess, report_samples
from diffprobe.report.findings import findings, headlines

WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))


def images(valid: int, wrong: int, unreadable: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    odd = torch.tensor([[0, 0, 0, 1]]).expand(wrong, -1)
    drawn = WORLD.render(torch.cat([WORLD.grammar.sample(valid, random), odd]))
    return torch.cat([drawn, torch.zeros(unreadable, *WORLD.image_shape)])


def test_the_page_stands_alone_and_says_what_the_json_says(tmp_path: Path) -> None:
    report = report_samples(
        images(60, 30, 10),
        WORLD,
        tmp_path / "report",
        title="<script>alert(1)</script>",
        details={"sampler": {"note": "</pre><b>"}},
    )
    content = json.loads((report.folder / "report.json").read_text())
    assert content["schema"] == "diffprobe-report/2"
    assert content == report.content
    assert content["samples"] == 100
    assert (content["legible"]["count"], content["legible"]["n"]) == (90, 100)
    assert content["grammatical"]["value"] == pytest.approx(2 / 3)
    assert content["chance"] == {"uniform": 0.5, "product": pytest.approx(0.5), "ideal": 1.0}
    assert content["violations"]["odd parity"]["count"] == 30

    page = report.page.read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "</pre><b>" not in page
    sources = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{0,30})", page)
    assert any(s.startswith("data:image/png;base64,") for s in sources)
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    for text in ("66.7 %", "90.0 %", "odd parity", "60 of 90"):
        assert text in page, text


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
        assert rate["corrected"] == {k: pytest.approx(rate[k]) for k in ("value", "low", "high")}
    assert content["reading"]["refused"]["high"] < 0.001
    assert content["reading"]["symbols"] == list("()[]")


def test_one_line_of_csv_per_sample(tmp_path: Path) -> None:
    # Names that CSV, Markdown and HTML would mistake for their own.
    words = WordList(torch.tensor([[0, 1, 2], [2, 1, 0]]), 4)
    drawn = Glyphs.font("abcd")
    names = ('a,"b"', "<b>", "|*c*|", "d")
    glyphs = Glyphs(drawn.images, drawn.counts, names, drawn.radius, drawn.bandwidth)
    world = SymbolImages(words, glyphs, (1, 3))
    shown = world.render(torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 2]]))
    shown[2, :, :, 8:16] = math.nan
    report_samples(shown, world, tmp_path, title="a|b <i>*c*</i>")
    with (tmp_path / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["valid-novel", "invalid", "illegible"]
    assert rows[1] == {
        "sample": "1",
        "verdict": "invalid",
        "word": 'a,"b" <b> d',
        "nearest": 'a,"b" <b> |*c*|',
        "distance": "1",
        "wrong_cells": "2",
        "unreadable_cells": "",
        "unreadable_symbols": "",
        "kinds": "distance 1",
        "confidence": "1.000 1.000 1.000",
    }
    assert rows[2]["unreadable_cells"] == "1"
    assert rows[2]["unreadable_symbols"] in names
    assert rows[2]["confidence"] == "1.000 0.000 1.000"
    assert rows[2]["distance"] == rows[2]["nearest"] == ""

    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("### a\\|b \\<i\\>\\*c\\*\\</i\\>\n")
    assert "| grammatical, of the legible | 50.0% | 9.5% to 90.5% | 1 of 2 |" in summary
    assert "| illegible | 33.3% |" in summary
    for line in summary.splitlines():
        assert not re.search(r"(?<!\\)<", line)
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_wrong_and_unreadable_samples_are_marked(tmp_path: Path) -> None:
    def count(folder: str, *numbers: int) -> int:
        report_samples(images(*numbers), WORLD, tmp_path / folder)
        pixels = Image.open(tmp_path / folder / "samples.png").convert("RGB").get_flattened_data()
        return sum(abs(r - 213) < 8 and abs(g - 94) < 8 and b < 8 for r, g, b in pixels)

    right, wrong = count("right", 40, 0), count("wrong", 30, 10)
    assert wrong > right + 500  # the legend alone has a little of the colour


def test_findings_claim_nothing_beyond_the_interval() -> None:
    def said(valid: int, wrong: int, unreadable: int = 0) -> str:
        return " ".join(findings(assess(images(valid, wrong, unreadable), WORLD), "01"))

    assert "cannot be told from chance" in said(52, 48)
    assert "above chance" in said(90, 10)
    assert "below chance" in said(10, 90)
    assert "No sample can be read" in said(0, 0, 5)
    assert "do they show this dataset's symbols" not in said(0, 0, 5)
    assert "Hardly a sample can be read: do they show this dataset's symbols" in said(2, 0, 800)
    assert "“odd parity”: 10.0%" in said(90, 10)
    assert "violation" not in said(90, 0)
    lines = headlines(assess(images(90, 10), WORLD))
    assert lines[0].startswith("Legible: 100.0% (95 % interval")
    assert lines[1].endswith("chance 50.0%.")
    broken = images(9, 1)
    broken[:3] = math.nan
    assert "3 samples hold values that are not finite" in findings(assess(broken, WORLD), "01")[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: (x + 1) * 127.5, r"run from 0 to 255; they must be in \[-1, 1\]"),
        (lambda x: (x + 1) / 2, r"run from 0 to 1; they must be in \[-1, 1\]"),
        (lambda x: x[:, :, :, :8], r"shape \(10, 1, 8, 8\); this dataset's are \(N, 1, 8, 32\)"),
        (lambda x: x.to(torch.uint8), "must be floats"),
        (lambda x: x[:0], "no samples"),
    ],
)
def test_samples_that_are_not_images_of_the_dataset(wrong, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        report_samples(wrong(images(9, 1)), WORLD, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_figures_of_probes_are_embedded(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "ldr.png")
    without = report_samples(images(9, 1), WORLD, tmp_path / "without").page.read_text()
    within = report_samples(
        images(9, 1), WORLD, tmp_path / "with", probes=tmp_path
    ).page.read_text()
    assert within.count("data:image") == without.count("data:image") + 1
    assert "Local dependency ratio over noise levels" in within
