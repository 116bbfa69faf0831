import json
import re
from pathlib import Path

import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import figure
from diffprobe.foundations.records import write_record
from diffprobe.probing import summaries
from diffprobe.probing.summaries import Setting
from diffprobe.report import report_samples

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
    embedded = ("data:image/png;base64,", "data:image/svg+xml;base64,", "#")
    assert all(s.startswith(embedded) for s in sources)
    for text in ("66.7 %", "90.0 %", "odd parity", "60 of 90"):
        assert text in page, text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[:, :, :, :8], r"shape \(10, 1, 8, 8\); this dataset's are \(N, 1, 8, 32\)"),
        (lambda x: x.cfloat(), "no numbers"),
        (lambda x: x[:0], "no samples"),
    ],
)
def test_samples_that_are_not_images_of_the_dataset(wrong, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        report_samples(wrong(images(9, 1)), WORLD, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_how_images_were_read_is_said_everywhere(tmp_path: Path) -> None:
    given = (images(6, 3) + 1) / 2
    given[2, 0, 0, 0], given[4, 0, 0, 0] = torch.nan, 1e30
    report = report_samples(given.numpy(), WORLD, tmp_path, notes=["First this."])
    assert report.content["findings"][:4] == [
        "First this.",
        "The images were read as floats in [0, 1]: the typical one runs from 0 to 1.",
        "1 of 9 samples hold values that are not finite (NaN or infinite) and count as illegible: "
        "2.",
        "1 of 9 samples hold values beyond ±10 and count as illegible: 4.",
    ]
    for line in report.content["findings"][:4]:
        assert line in report.page.read_text()
    assert report.content["broken"] == {"not_finite": [2], "out_of_range": [4]}
    assert report.verdicts.legible.sum() == 7


def test_figures_of_probes_are_embedded(tmp_path: Path) -> None:
    with figure(tmp_path / "ldr") as canvas:
        canvas.subplots().plot([0, 1])
    without = report_samples(images(9, 1), WORLD, tmp_path / "without").page.read_text()
    within = report_samples(
        images(9, 1), WORLD, tmp_path / "with", probes=tmp_path
    ).page.read_text()
    assert within.count("data:image/svg+xml;base64,") == 1
    assert "data:image/svg+xml;base64," not in without
    assert "Local dependency ratio over noise levels" in within
    # Other settings than the run's own have figures of their own, named by summary.json.
    parts = (*summaries.OPENED, "probes", "along", "skipped", "dynamics")
    setting = Setting("locality", {"precision": 0.01}, None)
    summary = {**{part: {} for part in parts}, "settings": {"locality_precision-0.01": setting}}
    write_record(tmp_path / "summary.json", summary)
    with figure(tmp_path / "ldr_precision-0.01") as canvas:
        canvas.subplots().plot([0, 1])
    both = report_samples(images(9, 1), WORLD, tmp_path / "both", probes=tmp_path).page.read_text()
    assert both.count("data:image/svg+xml;base64,") == 2
    assert "Here with precision 0.01." in both


@pytest.mark.parametrize("damage", [b"", b"[[[[", b"\xff\xfe", b'<svg width="1pt"'])
def test_a_damaged_figure_is_left_out(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ldr.svg").write_bytes(damage)
    page = report_samples(images(9, 1), WORLD, tmp_path / "report", probes=tmp_path).page
    assert "Local dependency ratio over noise levels" not in page.read_text()
    assert "ldr.svg is damaged and left out" in caplog.text


def test_where_nothing_can_be_read_there_is_no_interval_of_nothing(tmp_path: Path) -> None:
    page = report_samples(images(0, 0, 10), WORLD, tmp_path / "report").page.read_text()
    assert ">0 % to 100.0 %" not in page
    assert "95 % interval 0 % to 100.0 %" not in page
    assert "Not defined: no sample can be read." in page
    assert "there is no word to hold against the grammar" in page


def test_the_story_of_the_probes_is_among_numbers_and_findings(tmp_path: Path) -> None:
    def number(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 100}

    level = {"t": 9, "ldr": {"network": number(0.98), "bayes": number(0.5)}}
    summary = {
        "step": 7,
        "level": {"t": 9, "log_snr": -1.0},
        "regions": {"no_locality": 0.25},
        "probes": {
            "locality": {"levels": [{**level, "excess_ldr": number(0.48)}]},
            "placement": {"gamma": number(0.0), "undefined": ""},
        },
    }
    write_record(tmp_path / "summary.json", summary)
    report = report_samples(images(9, 1), WORLD, tmp_path / "report", probes=tmp_path)
    listens, uses = report.content["findings"][-2:]
    assert listens.startswith("The network listens only to itself: 98 %")
    assert uses.startswith("It uses nothing of the grammar")
    assert report.content["listening"]["excess"] == number(0.48)
    page = report.page.read_text()
    assert "The network listens only to itself" in page
    assert '<p class="big">0.480</p>' in page
    assert "probed after 7 training steps" in page
