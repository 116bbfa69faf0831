from pathlib import Path

import pytest
import torch
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import Comparison, Verdicts, compare, judge
from diffprobe.foundations.figures import COLORS
from diffprobe.report import comparison

pytestmark = pytest.mark.drawn

CUBE = hypercube(ParityConfig(4).build())


def planted(valid: int, invalid: int, illegible: int) -> Verdicts:
    words = CUBE.grammar.sample(valid + invalid, torch.Generator().manual_seed(0))
    words[valid:, 0] ^= 1
    return judge(CUBE, torch.cat([CUBE.render(words), torch.zeros(illegible, 1, 1, 4)]))


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare(
        {"a|b <i>": planted(80, 10, 10), "b": planted(45, 45, 10), "none": planted(0, 0, 20)}
    )


def test_two_tables_to_paste(found: Comparison) -> None:
    text = comparison.markdown(found)
    assert "a\\|b &lt;i>" in text
    assert "| 88.9% [80.7%, 93.9%], n = 90 |" in text
    assert "undefined (0 of 0)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5, 7}


def test_the_figure_shows_each_rate_with_its_interval_and_chance(found: Comparison) -> None:
    ax = comparison.plot(found, Figure().subplots())
    lines = [(line.get_xdata(), line.get_ydata(), line) for line in ax.lines]
    for row, (name, rates) in enumerate(found.rates.items()):
        for rate, shift, color in (("legible", -0.12, "illegible"), ("grammatical", 0.12, None)):
            ends, value = [rates[rate].low, rates[rate].high], rates[rate].value
            bars = [li for x, y, li in lines if list(x) == ends and y[0] == row + shift]
            assert len(bars) == (value is not None)
            for bar in bars:
                assert same_color(bar.get_color(), COLORS[color or rate])
            points = [x[0] for x, y, li in lines if li.get_marker() in "so" and y[0] == row + shift]
            assert points == ([] if value is None else [value])
        chance = [x[0] for x, y, li in lines if li.get_marker() == "|" and y[0] == row + 0.12]
        assert chance == [found.chance[name]]
    assert [text.get_text() for text in ax.get_yticklabels()] == list(found.rates)
    assert [text.get_text() for text in ax.texts] == ["no sample is legible"]


def test_the_figure_is_stored_twice(found: Comparison, tmp_path: Path) -> None:
    comparison.draw(found, tmp_path / "comparison")
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size == (1300, round(200 * (1.0 + 0.32 * 3)))
    assert "<i>" not in (tmp_path / "comparison.svg").read_text()
