import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from diffprobe.datasets import Glyphs, Parity, SymbolImages
from diffprobe.report import report_samples
from diffprobe.report.findings import findings, headlines
from diffprobe.verdicts import judge

WORLD = SymbolImages(Parity(4), Glyphs.font("01"), (1, 4))


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
    assert content["schema"] == "diffprobe-report/1"
    assert content["samples"] == 100
    assert (content["legible"]["count"], content["legible"]["n"]) == (90, 100)
    assert content["grammatical"]["value"] == pytest.approx(2 / 3)
    assert content["chance"]["product"] == pytest.approx(0.5)
    assert content["violations"]["odd parity"]["count"] == 30

    page = report.page.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "</pre><b>" not in page
    sources = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{0,30})", page)
    assert sources
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    for text in ("66.7 %", "90.0 %", "odd parity", "chance 50.0 %", "60 of 90"):
        assert text in page, text


def test_wrong_and_unreadable_samples_are_marked(tmp_path: Path) -> None:
    def count(folder: str, *numbers: int) -> int:
        report_samples(images(*numbers), WORLD, tmp_path / folder)
        pixels = Image.open(tmp_path / folder / "samples.png").convert("RGB").get_flattened_data()
        return sum(abs(r - 213) < 8 and abs(g - 94) < 8 and b < 8 for r, g, b in pixels)

    right, wrong = count("right", 40, 0), count("wrong", 30, 10)
    assert wrong > right + 500  # the legend alone has a little of the colour


def test_findings_claim_nothing_beyond_the_interval() -> None:
    def said(valid: int, wrong: int, unreadable: int = 0) -> str:
        return " ".join(findings(judge(WORLD, images(valid, wrong, unreadable))))

    assert "cannot be told from chance" in said(52, 48)
    assert "above chance" in said(90, 10)
    assert "below chance" in said(10, 90)
    assert "No sample can be read" in said(0, 0, 5)
    assert "“odd parity”: 10.0%" in said(90, 10)
    assert "violation" not in said(90, 0)
    lines = headlines(judge(WORLD, images(90, 10)))
    assert lines[0].startswith("Legible: 100.0% (95 % interval")
    assert lines[1].endswith("chance 50.0%.")


def test_figures_of_probes_are_embedded(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "ldr.png")
    without = report_samples(images(9, 1), WORLD, tmp_path / "without").page.read_text()
    within = report_samples(
        images(9, 1), WORLD, tmp_path / "with", probes=tmp_path
    ).page.read_text()
    assert without.count("data:image") == 1
    assert within.count("data:image") == 2
    assert "Local dependency ratio over noise levels" in within
