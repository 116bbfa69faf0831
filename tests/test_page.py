"""The report's page: what is in the file, and what a browser makes of it."""

import base64
import dataclasses
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from PIL import Image

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.evaluation.verdicts import Verdicts, judge
from diffprobe.foundations.figures import COLORS, DARK, ON_MAP, figure
from diffprobe.foundations.records import interval, write_record
from diffprobe.foundations.statistics import wilson
from diffprobe.probing import open_subject, run_probes
from diffprobe.report import Report, report_samples
from diffprobe.report.page import Gallery, explorer, explorer_data, figures_in, gallery, render
from diffprobe.report.page.glossary import GLOSSARY

pytestmark = pytest.mark.drawn

# Symbols, kinds and names that would be markup if they were not escaped.
SYMBOLS = '<>&"'
WORLD = SymbolImages(ModularSumConfig(4, 4, 4).build(), Glyphs.font(SYMBOLS), (2, 2))
SPLIT = FiniteWords(WORLD.grammar, 32, 0)
KINDS = ("</script><b>&amp;", 'off by "two"')
TITLE = "<script>alert(1)</script> & \"quotes\" 'too'"
VERDICTS = ("valid-novel", "valid-memorised", "invalid", "illegible")
# Of each ten samples: what is planted in them.
TEN = (0, 0, 0, 0, 1, 2, 2, 2, 3, 3)

LISTENING = {
    "step": 200,
    "log_snr": -1.25,
    "ldr": {"value": 0.8736, "low": 0.85, "high": 0.89, "n": 100},
    "optimum": {"value": 0.5636, "low": 0.5, "high": 0.6, "n": 100},
    "excess": {"value": 0.31, "low": 0.28, "high": 0.34, "n": 100},
    "no_locality": 0.2321,
    "gamma": {"value": None, "low": None, "high": None, "n": 0},
    "undefined": "there is no grammar to use",
}
STEPS, LEVELS, T = (10, 200), (999, 400, 3), 3


def planted(n: int = 100) -> torch.Tensor:
    """Of each ten, 4 new words, 1 training word, 2 off by one, 1 off by two, 2 with a grey cell."""
    assert SPLIT.training is not None
    training, every = SPLIT.training, WORLD.grammar.words()
    new = every[~SPLIT.is_training(every)]
    place = torch.arange(n) % 10
    words = torch.where(
        (place == 4)[:, None], training[torch.arange(n) % 32], new[torch.arange(n) * 7 % 32]
    )
    words[:, 1] += torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 0, 0])[place]
    images = WORLD.render(words % 4)
    images[place >= 8, :, 8:, :8] = 0
    return images


def renamed(report: Report, kinds: tuple[str, ...], title: str) -> tuple[dict[str, Any], Verdicts]:
    """The report with other words: what a user may have called things."""
    names = dict(zip(("off by 1", "off by 2"), kinds, strict=True))
    content = {**report.content, "title": title, "findings": [f"A finding about {title}."]}
    content["listening"] = LISTENING
    content["details"] = {"sampler": {"note": title}}
    content["violations"] = {names.get(k, k): r for k, r in content["violations"].items()}
    found = {names.get(kind, kind): v for kind, v in report.verdicts.violations.items()}
    return content, dataclasses.replace(report.verdicts, violations=found)


def write_probes(probes: Path) -> dict[int, Any]:
    """What the probe of locality leaves behind, with numbers at random; also returned."""
    random = np.random.default_rng(0)
    written, along = {}, []
    bayes: Any = None
    for step in STEPS:
        parts = {}
        for name in ("network", "bayes", "product"):
            # Four regions and the rest of the image; a share of nothing may be told below 0.
            shares = random.uniform(0.1, 1, (T, 4, 5)) + 3 * np.eye(4, 5)
            shares[:, 0, 1] = -1e-4
            matrix: list[Any] = (shares / shares.sum((1, 2), keepdims=True)).tolist()
            value: list[float | None] = random.uniform(0.3, 0.9, T).tolist()
            if name != "network":
                matrix[2] = [[None] * 5] * 4  # at low noise an oracle depends on nothing
                value[2] = None
            # Symmetric, skewed, and without an interval.
            low = [value[0] - 0.02, value[1] - 0.09, None]
            high = [value[0] + 0.02, value[1] + 0.01, None]
            parts[name] = {
                "t": list(LEVELS),
                "log_snr": [-9.0, -1.25, 8.0],
                "inputs": [128, 128, 128],
                "ldr": {"value": value, "low": low, "high": high, "n": [128, 100, 0]},
                "shares": {"value": matrix},
                "parts": [*(f"cell {i}" for i in range(4)), "rest"],
                "settings": {"variant": "squared", "output": "x0", "seed": 0},
            }
        bayes = parts["bayes"] = bayes or parts["bayes"]
        excess = [
            {"value": a - b if b else None, "low": a - b - 0.03 if b else None}
            | {"high": a - b + spread if b else None}
            for a, b, spread in zip(
                *(parts[name]["ldr"]["value"] for name in ("network", "bayes")),
                (0.03, 0.01, 0),
                strict=True,
            )
        ]
        along.append({"step": step, "levels": levels_of(parts, excess)})
        written[step] = parts
        folder = probes / f"step-{step:06d}"
        folder.mkdir(parents=True)
        write_record(folder / "locality.json", parts)
    summary = {
        "architecture": "transformer",
        "step": STEPS[-1],
        "level": {"t": 400},
        "regions": {
            "names": [f"cell {i}" for i in range(4)],
            "boxes": [[0, 0, 8, 8], [0, 8, 8, 8], [8, 0, 8, 8], [8, 8, 4, 8]],
            "image": [16, 16],
            "no_locality": 0.2321,
        },
        "probes": {"locality": along[-1]},
        "along": {"locality": along},
    }
    write_record(probes / f"step-{STEPS[-1]:06d}" / "summary.json", summary)
    return written


def levels_of(parts: dict[str, Any], excess: list[Any]) -> list[dict[str, Any]]:
    """The summary's levels: the LDR of each denoiser, and the excess."""
    return [
        {
            "excess_ldr": excess[i],
            "ldr": {who: {k: v[i] for k, v in p["ldr"].items()} for who, p in parts.items()},
        }
        for i in range(T)
    ]


class Elements(HTMLParser):
    """Counts the elements of a page, and keeps its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text: dict[str, list[str]] = {"script": [], "style": []}
        self.attributes: list[tuple[str, str | None]] = []
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        self._inside = tag if tag in self.text else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text[self._inside].append(data)


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Any]]:
    folder = tmp_path_factory.mktemp("run") / "probes"
    return folder, write_probes(folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("report")
    return report_samples(planted(), WORLD, out, stream=SPLIT)


@pytest.fixture(scope="module")
def page(report: Report, probes: tuple[Path, dict[int, Any]]) -> str:
    content, verdicts = renamed(report, KINDS, TITLE)
    with figure(probes[0] / "ldr", 6.0, 2.0) as canvas:
        ax = canvas.subplots()
        ax.plot([0, 1], [0, 1], color=COLORS["transformer"], lw=20)
        ax.plot([0, 1], [1, 0], color=COLORS["bayes"], lw=20)
        ax.text(0.1, 0.5, "black, on a map", color=ON_MAP[0], size=20)
    shown = figures_in(probes[0])
    return render(content, Gallery.of(planted(), verdicts, WORLD), explorer_data(probes[0]), shown)


# ---- the file -----------------------------------------------------------------------------------


def test_the_policy_names_what_is_in_the_page_and_nothing_else(page: str) -> None:
    found = Elements(page)
    data, script = found.text["script"]
    (style,) = found.text["style"]
    policy = dict(found.attributes)["content"]
    policies = [v for k, v in found.attributes if k == "content" and v and "default-src" in v]
    assert len(policies) == 1, policy
    for text in (script, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policies[0]
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policies[0]
    assert json.loads(data)["gallery"]["symbols"] == list(SYMBOLS)


def test_no_text_becomes_markup(report: Report, page: str) -> None:
    """The same page with harmless words has the same elements."""
    content, verdicts = renamed(report, ("a", "b"), "title")
    text = json.dumps(content)
    for symbol, harmless in zip(SYMBOLS, "0123", strict=True):
        text = text.replace(json.dumps(symbol), json.dumps(harmless))
    plain = SymbolImages(WORLD.grammar, Glyphs.font("0123"), (2, 2))
    other = render(json.loads(text), Gallery.of(planted(), verdicts, plain))
    explored = re.sub(r'<section id="(explorer|figures)".*?</section>', "", page, flags=re.DOTALL)
    explored = re.sub(r'<li><a href="#(explorer|figures)">\w+</a></li>', "", explored)
    assert Elements(explored).names == Elements(other).names
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;quotes&#34;" in page


def test_the_picture_holds_every_sample() -> None:
    images = planted(23)
    images[3, 0, 0, :3] = torch.tensor([torch.nan, 9.0, -9.0])
    made = Gallery.of(images, judge(WORLD, images, SPLIT), WORLD)
    picture = np.asarray(Image.open(io.BytesIO(made.picture)))
    for i, image in enumerate(images):
        row, column = divmod(i, made.columns)
        found = picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        wanted = 127.5 * (1 - image[0].nan_to_num(0).clamp(-1, 1).numpy())
        assert np.abs(found - wanted).max() <= 0.5
    assert made.content["verdict"] == [3 if i == 3 else TEN[i % 10] for i in range(23)]
    assert made.content["unreadable"][3] == [0]
    assert made.content["unreadable"][8] == [2]
    kinds = [made.content["kinds"].index(f"off by {k}") for k in (1, 1, 2)]
    assert made.content["violations"][5:8] == [[k] for k in kinds]
    assert [len(cells) for cells in made.content["wrong"][4:9]] == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("side", [16, 64])
def test_a_page_of_noise_stays_small(report: Report, side: int) -> None:
    """Noise is what compresses worst; large images mean fewer samples, and the page says so."""
    world = SymbolImages(WORLD.grammar, Glyphs.font("0123", (side // 2, side // 2)), (2, 2))
    images = torch.rand(1200, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = Gallery.of(images, judge(world, images), world)
    shown = len(made.content["words"])
    assert shown == min(gallery.LARGEST, gallery.PIXELS // side**2)
    assert made.content["total"] == 1200
    assert len(render({**report.content, "samples": 1200}, made).encode()) < 5_000_000


# ---- the explorer's data ------------------------------------------------------------------------


def test_the_explorer_reads_what_the_probe_wrote(tiny_run: Path, tmp_path: Path) -> None:
    subject = open_subject(tiny_run)
    folder = tmp_path / "probes" / f"step-{subject.step:06d}"
    results = run_probes(subject, ["locality"], steps="all", out=folder)
    found = explorer_data(tmp_path / "probes")
    assert found is not None
    network, bayes = (results.results["locality"][name] for name in ("network", "bayes"))
    assert found["steps"][-1] == subject.step
    assert len(found["steps"]) == len(results.along.summaries()["locality"]) == 3
    assert found["t"] == network.t.tolist()
    assert found["t"][found["start"]] == subject.level
    assert found["regions"]["boxes"] == [[0, 8 * i, 8, 8] for i in range(4)]
    for name, result in (("network", network), ("bayes", bayes)):
        part = found["parts"][name]
        moment = part["moments"][part["at"][-1]]
        shares = result.shares.value.clamp(min=0)
        whole = (shares / shares.sum(-1, keepdim=True) * found["whole"]).tolist()
        for level, row in np.ndindex(*shares.shape[:2]):
            share = moment["shares"][level][row]
            if shares[level, row].isnan().any():
                assert share is None
            else:
                assert share == pytest.approx(whole[level][row], abs=0.51)
        assert moment["shares"][0][0] is not None
        assert moment["ldr"][0]["value"] == pytest.approx(result.ldr.value[0].item())
    assert len(found["parts"]["bayes"]["moments"]) == 1  # the optimum does not learn
    excess = found["excess"][-1][0]["value"]
    assert excess == pytest.approx((network.ldr.value[0] - bayes.ldr.value[0]).item())


def test_the_rest_of_the_image_counts_in_the_shares(probes: tuple[Path, dict[int, Any]]) -> None:
    found = explorer_data(probes[0])
    assert found is not None
    moments = found["parts"]["network"]["moments"]
    for moment, step in zip(moments, STEPS, strict=True):
        wanted = np.array(probes[1][step]["network"]["shares"]["value"]).clip(0)
        wanted = found["whole"] * wanted / wanted.sum(-1, keepdims=True)
        assert np.abs(np.array(moment["shares"]) - wanted).max() <= 0.5
        assert np.array(moment["shares"]).shape == (T, 4, 5)
    assert found["no_locality"] == 0.2321


def test_what_does_not_fit_is_left_out(
    probes: tuple[Path, dict[int, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert explorer_data(tmp_path) is None
    written = write_probes(tmp_path / "probes")
    first = tmp_path / "probes" / "step-000010" / "locality.json"
    written[10]["network"]["settings"]["variant"] = "l1"
    write_record(first, written[10])
    found = explorer_data(tmp_path / "probes")
    assert found is not None
    assert found["steps"] == [200]

    # Damaged, and of another version: as if that step had not been probed.
    first.write_text(first.read_text()[:-9])
    found = explorer_data(tmp_path / "probes")
    assert found is not None
    assert found["steps"] == [200]
    last = tmp_path / "probes" / "step-000200" / "locality.json"
    write_record(last, written[200], schema="diffprobe-record/0")
    assert explorer_data(tmp_path / "probes") is None

    write_record(last, written[200])
    write_record(last.with_name("summary.json"), {"probes": {"spectrum": {}}})  # probed again
    assert explorer_data(tmp_path / "probes") is None

    monkeypatch.setattr(explorer, "SHARES", 2 * 4 * 5 * 2)  # two matrices of each denoiser
    found = explorer_data(probes[0])
    assert found is not None
    assert (found["steps"], found["t"], found["start"]) == ([200], [400, 3], 0)
    network, bayes = (probes[1][200][name]["ldr"]["value"][1] for name in ("network", "bayes"))
    assert found["excess"][0][0]["value"] == pytest.approx(network - bayes)
    assert found["parts"]["network"]["moments"][0]["ldr"][0]["value"] == network


# ---- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, "utf-8")
    return path


@pytest.fixture
def desktop(browser: Browser, file: Path) -> Iterator[Browser]:
    """The page in a desktop's window; afterwards nothing was complained of, nothing fetched."""
    browser.open(file)
    browser.wait("document.querySelectorAll('.sample').length > 0")
    yield browser
    assert browser.value("performance.getEntriesByType('resource').map((e) => e.name)") == []
    assert browser.log == []
    assert browser.requests == [file.as_uri()]


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent.trim())"
    )
    return found


def test_filters_show_exactly_the_samples_of_a_kind(desktop: Browser) -> None:
    assert texts(desktop, "#shown") == ["60 of 100 samples shown"]
    for verdict, n in zip(VERDICTS, (40, 10, 30, 20), strict=True):
        desktop.click(f"input[value={verdict}]")
        assert texts(desktop, "#shown") == [f"{n} of {n} samples shown"]
        shown = desktop.value(
            "[...document.querySelectorAll('.sample')].map((e) => Number(e.dataset.sample))"
        )
        assert shown == [i for i in range(100) if VERDICTS[TEN[i % 10]] == verdict]
    assert desktop.value("document.querySelectorAll('#gallery path.unreadable').length") == 20

    desktop.click("input[value=invalid]")
    assert desktop.value("document.querySelectorAll('#gallery rect.wrong').length") == 30
    assert texts(desktop, "input[name=kind] + span") == [
        "any or none100",
        f"{KINDS[0]}20",
        f"{KINDS[1]}10",
    ]
    desktop.click("input[name=kind]", 2)
    assert texts(desktop, "#shown") == ["10 of 10 samples shown"]
    desktop.click("input[value=illegible]")
    assert texts(desktop, "#shown") == ["No sample is like this"]
    desktop.click("input[name=verdict][value='']")
    desktop.click("input[name=kind][value='']")
    desktop.click("#more")
    assert texts(desktop, "#shown") == ["100 of 100 samples shown"]
    assert desktop.value("document.activeElement.dataset.sample") == "60"

    # The pixels on the page are the sample's.
    pixels = desktop.value(
        """(() => {
            const canvas = document.querySelectorAll(".sample canvas")[17];
            const data = canvas.getContext("2d").getImageData(0, 0, 16, 16).data;
            return [...data].filter((_, i) => i % 4 === 0);
        })()"""
    )
    wanted = 127.5 * (1 - planted()[17, 0].flatten().double())
    assert np.abs(np.array(pixels) - wanted.numpy()).max() <= 0.5


def test_a_sample_is_looked_into_by_pointer_and_by_keys(desktop: Browser, report: Report) -> None:
    verdicts = report.verdicts

    def said(i: int) -> None:
        cells = texts(desktop, "#inspector .read")
        for c, cell in enumerate(cells):
            word = SYMBOLS[verdicts.words[i, c]]
            if not verdicts.legible_cells[i, c]:
                word += "?"
            elif verdicts.wrong_cells[i, c]:
                word += f" → {SYMBOLS[verdicts.nearest[i, c]]}"
            assert cell == word
        assert texts(desktop, "#inspector .sure") == [
            f"{100 * round(c, 3):.{0 if c > 0.9995 else 1}f} %"
            for c in verdicts.confidence[i].tolist()
        ]
        assert texts(desktop, "#inspector h3") == [f"Sample {i}"]

    desktop.click(".sample", 5)
    said(5)
    assert texts(desktop, "#inspector .tag") == [f"invalid: {KINDS[0]}"]
    label = desktop.value("document.activeElement.getAttribute('aria-label')")
    spelled = [" ".join(SYMBOLS[s] for s in w[5]) for w in (verdicts.words, verdicts.nearest)]
    assert label == (
        f"Sample 5: invalid: {KINDS[0]}. Read {spelled[0]}. Nearest valid word {spelled[1]}."
    )
    desktop.press("ArrowRight", 3)
    said(8)
    across = len(
        desktop.value(
            "getComputedStyle(document.getElementById('gallery')).gridTemplateColumns"
        ).split()
    )
    desktop.press("ArrowDown")
    said(8 + across)
    desktop.press("ArrowUp")
    desktop.press("ArrowLeft")
    said(7)
    desktop.press("End")
    said(59)
    desktop.press("ArrowRight")  # there is none
    said(59)
    desktop.press("Home")
    said(0)
    # A mouse that moves chooses without a click.
    box = "document.querySelectorAll('.sample')[2].getBoundingClientRect()"
    x, y = desktop.value(f"[{box}.x + 5, {box}.y + 5]")
    for shift in (0, 3):
        desktop.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + shift, y=y)
    said(2)
    assert desktop.value("document.querySelectorAll('.sample[tabindex=\"0\"]').length") == 1


def numbers(probes: dict[int, Any], step: int, level: int, cell: int) -> list[list[str]]:
    """The explorer's table as the probe's record has it."""
    parts = [probes[step][name] for name in ("network", "bayes")]
    ldr, shares = [], []
    for part in parts:
        ratio = {key: values[level] for key, values in part["ldr"].items()}
        known = ratio["value"] is not None
        ldr.append(interval(ratio) if known else "depends on nothing")
        row = [max(0, x) for x in part["shares"]["value"][level][cell]] if known else []
        shares.append(f"{round(row[cell] / sum(row), 4):.3f}" if known else "depends on nothing")
    first, second = (p["ldr"]["value"][level] for p in parts)
    excess = "undefined"
    if level == 0:
        excess = f"{first - second:+.3f} ± 0.030"
    elif level == 1:
        low, value, high = (first - second + x for x in (-0.03, 0, 0.01))
        excess = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    return [ldr, shares, [excess.replace("-", "−")]]


def shown_numbers(browser: Browser) -> list[list[str]]:
    found: list[list[str]] = browser.value(
        "[...document.querySelectorAll('#numbers tbody tr')]"
        ".map((row) => [...row.querySelectorAll('td')].map((e) => e.textContent))"
    )
    return found


def test_the_explorer_follows_sliders_clicks_and_keys(
    desktop: Browser, probes: tuple[Path, dict[int, Any]]
) -> None:
    written = probes[1]
    assert shown_numbers(desktop) == numbers(written, 200, 1, 0)
    caption = desktop.value("document.querySelector('#numbers caption').textContent")
    assert caption.startswith("100 of 128 inputs")
    assert texts(desktop, "#level-value") == ["log-SNR −1.25 nats, t = 400"]

    desktop.click(".heat.network .cell", 2)
    assert shown_numbers(desktop) == numbers(written, 200, 1, 2)
    desktop.press("ArrowRight")
    assert shown_numbers(desktop) == numbers(written, 200, 1, 3)
    desktop.press("ArrowUp")
    assert shown_numbers(desktop) == numbers(written, 200, 1, 1)
    desktop.press("ArrowUp")  # there is none
    assert shown_numbers(desktop) == numbers(written, 200, 1, 1)
    assert desktop.value("document.activeElement.getAttribute('aria-checked')") == "true"
    for name in ("network", "bayes"):
        row = np.array(written[200][name]["shares"]["value"][1][1])
        shares = [f"{100 * s:.0f}" for s in (row / row.sum()).round(4)[:4]]
        rest = f"and {100 * (row / row.sum()).round(4)[4]:.1f} % on the rest of the image"
        assert rest in texts(desktop, "#heats .own")
        assert texts(desktop, f".heat.{name} .cell") == shares

    desktop.value("document.getElementById('level').focus()")
    desktop.press("ArrowRight")
    assert texts(desktop, "#level-value") == ["log-SNR 8.00 nats, t = 3"]
    assert shown_numbers(desktop) == numbers(written, 200, 2, 1)
    assert texts(desktop, ".heat.bayes .cell") == ["–"] * 4
    assert "depends on nothing" in " ".join(texts(desktop, ".own"))

    desktop.press("Home")
    desktop.value("document.getElementById('step').focus()")
    desktop.press("ArrowLeft")
    assert texts(desktop, "#step-value") == ["10 of 200"]
    assert shown_numbers(desktop) == numbers(written, 10, 0, 1)
    desktop.wait("document.getElementById('heard').textContent.includes('step 10:')")

    desktop.click("#curve")  # its middle is nearest the middle level
    assert texts(desktop, "#level-value") == ["log-SNR −1.25 nats, t = 400"]


def test_the_summary_says_what_the_report_says(desktop: Browser, report: Report) -> None:
    assert texts(desktop, "h1") == [TITLE]
    assert texts(desktop, ".number .big") == ["80.0 %", "62.5 %", "0.874", "0.310", "–"]
    legible, grammatical, *_ = texts(desktop, ".number > p.soft")
    assert legible.endswith("80 of 100")
    low, high = wilson(50, 80).low, wilson(50, 80).high
    assert grammatical == f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %50 of 80"
    shares = texts(desktop, ".shares b")
    assert shares == ["40.0 %", "10.0 %", "30.0 %", "20.0 %"]
    widths = "[...document.querySelectorAll('.verdicts rect')].map((e) => e.width.baseVal.value)"
    assert desktop.value(widths) == [40, 10, 30, 20]
    # The sum of uniform digits is 0 mod 4 in one of four words.
    assert [t[-6:] for t in texts(desktop, ".number .key li")[:2]] == ["25.0 %", "25.0 %"]
    assert texts(desktop, "#violations > table tbody th") == list(KINDS)
    assert texts(desktop, "#violations > table .tally")[1:] == ["20", "10"]
    positions = [str(rate["count"]) for rate in report.content["positions"]]
    found = texts(desktop, "#violations .beside table:nth-of-type(2) td.tally")
    assert found == positions
    assert sum(map(int, positions)) == 30
    # The chance line stands where the number says.
    assert desktop.value("document.querySelector('.bar .product').x1.baseVal.value") == 25
    assert texts(desktop, ".findings li") == [f"A finding about {TITLE}."]


def test_locality_is_among_the_numbers(desktop: Browser) -> None:
    cards = texts(desktop, ".three .card")
    assert len(cards) == 3
    assert "95 % interval 0.850 to 0.890" in cards[0]
    assert "Bayes optimum 0.564" in cards[0]
    assert "no locality 0.232" in cards[0]
    assert "95 % interval 0.280 to 0.340" in cards[1]
    assert "Not defined: there is no grammar to use." in cards[2]
    assert desktop.value("document.querySelectorAll('.three .card:nth-child(3) svg').length") == 0
    # Everything stands where its number says, on axes from 0 to 1 and from −1 to 1.
    bars = desktop.value(
        """[...document.querySelectorAll(".three svg")].map((svg) => {
            const all = svg.getBoundingClientRect();
            const at = (e) => (e.getBoundingClientRect().x - all.x) / all.width;
            const wide = (e) => e.getBoundingClientRect().width / all.width;
            const [interval] = svg.querySelectorAll(".interval");
            return [at(svg.querySelector(".value")), at(interval), wide(interval)];
        })"""
    )
    assert bars[0] == pytest.approx([0.8736, 0.85, 0.04], abs=0.01)
    assert bars[1] == pytest.approx([1.31 / 2, 1.28 / 2, 0.03], abs=0.01)


def test_words_are_explained_by_pointer_keys_and_touch(browser: Browser, file: Path) -> None:
    def seen() -> list[str]:
        found: list[str] = browser.value(
            """[...document.querySelectorAll(".tip")]
                .filter((e) => getComputedStyle(e).visibility === "visible")
                .map((e) => e.textContent)"""
        )
        return found

    meaning = GLOSSARY["ldr"][1]
    browser.open(file)
    assert seen() == []
    box = "document.querySelectorAll('.three .term')[0].getBoundingClientRect()"
    x, y = browser.value(f"[{box}.x + 4, {box}.y + 4]")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert seen() == [meaning]
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.value("document.querySelector('.three .term button').focus()")
    assert seen() == [meaning]
    browser.press("Escape")
    assert seen() == []
    # A screen reader hears the glossary's own words.
    told = browser.value(
        """[...document.querySelectorAll(".term button")].map((e) =>
            document.getElementById(e.getAttribute("aria-describedby")).textContent
            === e.nextSibling.textContent)"""
    )
    assert all(told)
    assert len(told) >= 6

    browser.open(file, 390, 844)
    for expected in ([meaning], []):  # a second tap closes it
        browser.value("document.querySelector('.three .term').scrollIntoView({block: 'center'})")
        x, y = browser.value(f"[{box}.x + 4, {box}.y + 4]")
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            browser.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        browser.value("document.activeElement.blur()")
        assert browser.value("document.querySelectorAll('.term.open').length") == len(expected)
        if expected:
            assert seen() == expected
            tip = "document.querySelector('.three .tip').getBoundingClientRect()"
            left, right, top, word = browser.value(
                f"[{tip}.left, {tip}.right, {tip}.top, {box}.bottom]"
            )
            assert 0 <= left < right <= 390
            assert top >= word - 1  # beneath the word that it explains


def test_illegible_samples_are_seen_beneath_their_crosses(desktop: Browser) -> None:
    desktop.click("input[value=illegible]")
    crosses = """[...document.querySelectorAll("#gallery svg")].filter((svg) =>
        getComputedStyle(svg).opacity !== "0").length"""
    assert desktop.value(crosses) == 20
    desktop.click(".sample", 3)  # the pointer rests on it
    desktop.wait(f"{crosses} === 19")
    desktop.click("input[name=marks]")
    desktop.wait(f"{crosses} === 0")
    assert texts(desktop, "#shown") == ["20 of 20 samples shown"]
    desktop.click("input[name=marks]")
    desktop.wait(f"{crosses} === 20")


def test_where_curves_stop_the_explorer_says_why(
    desktop: Browser, probes: tuple[Path, dict[int, Any]]
) -> None:
    assert "the optimum depends on nothing here" in texts(desktop, "#curve text")
    gap = desktop.value(
        """(() => {
            const [gap] = document.querySelectorAll("#curve .gap");
            const lines = [...document.querySelectorAll("#curve path.line")];
            return [gap.getBBox().x, Math.max(...lines.map((e) => e.getBBox().x
                + e.getBBox().width).filter((x) => x < gap.getBBox().x))];
        })()"""
    )
    assert gap[0] > gap[1] > 40


def test_tab_reaches_everything_and_shows_where_it_is(desktop: Browser) -> None:
    desktop.value("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        desktop.press("Tab")
        reached.append(
            desktop.value(
                """(() => {
                    const e = document.activeElement;
                    const ring = e.type === "radio" ? e.nextSibling : e;
                    const visible = getComputedStyle(ring).outlineStyle !== "none";
                    return [e.name || e.id || e.className || e.tagName, visible];
                })()"""
            )
        )
        if reached[-1][0] == "SUMMARY":
            break
    names = [name for name, _ in reached]
    wanted = ["skip", "verdict", "kind", "order", "marks", "sample valid-novel", "more", "level"]
    wanted.append("step")
    assert [n for n in names if n in wanted] == wanted
    assert sum(n.startswith("cell") for n in names) == 2  # one in either panel
    assert all(visible for _, visible in reached)
    assert names[-1] == "SUMMARY"


def test_everything_that_can_be_used_has_a_name(desktop: Browser) -> None:
    desktop.send("Accessibility.enable")
    nodes = desktop.send("Accessibility.getFullAXTree")["nodes"]
    desktop.send("Accessibility.disable")
    roles = {"radio", "slider", "option", "button", "link", "listbox", "radiogroup", "combobox"}
    used = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {role for role, _ in used} >= {"radio", "slider", "option", "button", "listbox"}
    assert [role for role, name in used if not name] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_figures_fill_the_column_in_the_reader_s_colours(
    browser: Browser, file: Path, width: int, scheme: str
) -> None:
    browser.open(file, width, 844, scheme)
    column = browser.value("document.querySelector('main').clientWidth")
    box, image, caption, wide = browser.value(
        """["#figures .scroll", "#figures img", "#figures figcaption"]
            .map((s) => document.querySelector(s).getBoundingClientRect().width)
            .concat(document.querySelector("#figures .scroll").scrollWidth)"""
    )
    points = image / (6 * 72)  # CSS pixels to a point
    assert 9 * points >= 10  # ticks; 8 pt of the legend are 9
    if width == 1280:
        assert box + caption == pytest.approx(column, abs=30)
        assert image == box
    else:
        assert box == column
        assert wide > column  # moved sideways, within its box
        assert browser.value("document.querySelector('#figures .scroll').tabIndex") == 0

    # The very pixels: paper, ink, the network's colour.
    shades = browser.value(
        """(async () => {
            const image = document.querySelector("#figures img");
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [600, 200];
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 600, 200);
            const data = context.getImageData(0, 0, 600, 200).data;
            const found = {};
            for (let i = 0; i < data.length; i += 4) {
                const hex = "#" + [...data.slice(i, i + 3)]
                    .map((v) => v.toString(16).padStart(2, "0")).join("");
                found[hex] = (found[hex] ?? 0) + 1;
            }
            return found;
        })()"""
    )
    for light in ("#ffffff", "#000000", COLORS["transformer"].lower()):
        color = DARK[light] if scheme == "dark" else light
        assert shades.get(color, 0) > 100, (color, scheme)
    assert shades.get(ON_MAP[0], 0) > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_reads_well(browser: Browser, file: Path, width: int, scheme: str) -> None:
    browser.open(file, width, 844, scheme)
    browser.wait("document.querySelectorAll('.sample').length > 0")
    assert browser.value("document.documentElement.scrollWidth") <= width
    contrasts = browser.value(
        """(() => {
            const context = document.createElement("canvas")
                .getContext("2d", { willReadFrequently: true });
            const light = (color) => {
                context.fillStyle = color;
                context.fillRect(0, 0, 1, 1);
                const linear = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)
                    .map((v) => v / 255)
                    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
            };
            const behind = (e) => {
                const color = getComputedStyle(e).backgroundColor;
                return color === "rgba(0, 0, 0, 0)" ? behind(e.parentElement) : color;
            };
            const one = (selector) => {
                const found = [...document.querySelectorAll(selector)].map((element) => {
                    const pair = [light(getComputedStyle(element).color), light(behind(element))];
                    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
                });
                return Math.min(...found);
            };
            const all = ["h1", "header .soft", ".number .soft", ".number h3", ".sure", ".tag",
                "input:checked + span b", "input:enabled + span b", "caption",
                "#level-value", ".heat .cell span", "footer", ".tip", "#glossary dd",
                "figcaption", "figcaption h3"];
            return Object.fromEntries(all.map((s) => [s, one(s)]));
        })()"""
    )
    assert {k: v for k, v in contrasts.items() if v < 4.5} == {}
    assert browser.log == []
    assert browser.requests == [file.as_uri()]


def test_headings_are_in_order_and_every_picture_has_a_text(desktop: Browser) -> None:
    levels = desktop.value(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert desktop.value("[...document.images].every((e) => e.alt.length > 10)")


def test_it_prints(browser: Browser, file: Path) -> None:
    browser.open(file)
    browser.wait("document.querySelectorAll('.sample').length > 0")
    pdf = base64.b64decode(
        browser.send("Page.printToPDF", paperWidth=8.27, paperHeight=11.7)["data"]
    )
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
    browser.send("Emulation.setEmulatedMedia", media="print")
    hidden = [browser.value(f"document.querySelector('{s}').offsetHeight") for s in ("form", "nav")]
    browser.send("Emulation.setEmulatedMedia", media="")
    assert hidden == [0, 0]
    assert browser.log == []


def test_without_scripts_the_summary_and_the_samples_are_there(
    browser: Browser, file: Path
) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(file)
    shown = [
        browser.value(f"document.querySelector('{s}').getBoundingClientRect().height")
        for s in (".number", ".findings", "#sprite", "#violations table", "form", "#gallery")
    ]
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert all(height > 10 for height in shown[:4])
    assert shown[4:] == [0, 0]


def test_the_policy_holds(browser: Browser, file: Path) -> None:
    browser.open(file)
    refused = browser.value(
        """new Promise((resolve) => {
            const found = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                found.push(event.effectiveDirective);
                if (found.length === 3) resolve(found.sort());
            });
            fetch("http://127.0.0.1:9/").catch(() => {});
            new Image().src = "http://127.0.0.1:9/x.png";
            document.body.append(Object.assign(document.createElement("script"), { text: "1" }));
        })"""
    )
    assert refused == ["connect-src", "img-src", "script-src-elem"]
    assert browser.requests == [file.as_uri()]
