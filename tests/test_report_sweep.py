import numpy as np
import pytest
from matplotlib.figure import Figure

from diffprobe.evaluation.sweep import Sweep, Way
from diffprobe.foundations.statistics import wilson
from diffprobe.report import sweep


def way(sampler: str, nfe: int, valid: int, *, bayes: bool = True) -> Way:
    best = wilson(90, 90) if bayes else None
    return Way(sampler, None, nfe, nfe, wilson(80, 100), wilson(valid, 80), best, best)


FOUND = Sweep(
    (way("ddim", 20, 50), way("ddim", 5, 30), way("ddpm", 5, 0), way("ddpm", 20, 44)), 0.5, 3
)
ALONE = Sweep((way("ddpm", 5, 40, bayes=False),), 0.5, 0)


@pytest.mark.parametrize("rate", ["grammatical", "legible"])
def test_a_line_for_each_sampler_with_the_optimum_in_black(rate: sweep.Outcome) -> None:
    ax = sweep.plot(FOUND, Figure().subplots(), rate)
    drawn = {bars.get_label(): bars for bars in ax.containers}
    for name in ("ddim", "ddpm"):
        ways = sorted((w for w in FOUND.ways if w.sampler == name), key=lambda w: w.nfe)
        rates = [getattr(w, rate) for w in ways]
        line, _, (bars,) = drawn[name]
        assert line.get_ydata() == pytest.approx([r.value for r in rates])
        # Bars beside each other, within 4 % of their place.
        assert line.get_xdata() == pytest.approx([w.nfe for w in ways], rel=0.04)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert ends == pytest.approx(np.array([[r.low, r.high] for r in rates]))
    black = [bars for bars in ax.containers if bars[0].get_color() == "#000000"]
    assert len(black) == 2
    assert all(y == 1 for bars in black for y in bars[0].get_ydata())
    chance = [line for line in ax.lines if line.get_label() == "chance"]
    assert [list(line.get_ydata()) for line in chance] == [[0.5, 0.5]] * (rate == "grammatical")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["5", "20"]


def test_without_the_optimum_nothing_is_black() -> None:
    ax = sweep.plot(ALONE, Figure().subplots())
    assert [bars.get_label() for bars in ax.containers] == ["ddpm"]


def test_a_table_to_paste() -> None:
    table = sweep.markdown(FOUND).splitlines()
    assert len(table) == 2 + 4
    assert {line.count("|") for line in table} == {7}
    assert "| ddim | 20 | 80.0% [71.1%, 86.7%], n = 100 | 62.5%" in table[2]
    assert table[2].endswith("n = 90 | 50.0% |")
    assert "| left out | 50.0% |" in sweep.markdown(ALONE)
