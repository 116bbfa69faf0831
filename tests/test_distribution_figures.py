from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation.words import distribution
from diffprobe.evaluation.words.distribution import Distribution
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import DARK
from diffprobe.report import distribution_figures as figures

pytestmark = pytest.mark.drawn

CUBE = hypercube(ParityConfig(4).build())
COPY = SymbolImages(CopyConfig(4, 3).build(), Glyphs.font("abc"), (1, 4))


@pytest.fixture(scope="module")
def binary() -> Distribution:
    words = CUBE.grammar.sample(200, torch.Generator().manual_seed(0))
    words[:60, 0] = 1  # too many ones in the first cell
    return distribution.measure(CUBE, words)


@pytest.fixture(scope="module")
def ternary() -> Distribution:
    return distribution.measure(COPY, COPY.grammar.sample(100, torch.Generator().manual_seed(0)))


def test_shares_are_in_points_with_a_dot_where_the_interval_leaves_out_the_language(
    binary: Distribution,
) -> None:
    ax = figures.plot_shares(binary, Figure().subplots(), ("-", "+"))
    excess = 100 * (binary.shares.observed - 0.5).T
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(excess.numpy())
    low, high = ax.images[0].get_clim()
    assert low == -high
    dots = set(zip(ax.lines[0].get_xdata(), ax.lines[0].get_ydata(), strict=True))
    outside = (binary.shares.low > 0.5) | (binary.shares.high < 0.5)
    assert dots == {tuple(place) for place in outside.nonzero().tolist()}
    assert {(0, 0), (0, 1)} <= dots
    assert ax.lines[0].get_color() not in DARK  # black on the map in any theme
    assert [t.get_text() for t in ax.get_yticklabels()] == ["-", "+"]


def test_correlations_have_the_samples_below_and_the_language_above(ternary: Distribution) -> None:
    ax = figures.plot_correlations(ternary, Figure().subplots())
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    found = ternary.correlations
    for i in range(4):
        assert np.isnan(shown[i, i])
        for j in range(i):
            assert shown[i, j] == pytest.approx(found.observed[i, j].item())
            assert shown[j, i] == pytest.approx(found.language[j, i].item(), abs=1e-6)
    # The second half repeats the first.
    assert shown[0, 2] == pytest.approx(1)
    assert shown[0, 1] == pytest.approx(0, abs=1e-6)


def test_the_spectrum_shows_roots_with_intervals_beside_the_language(binary: Distribution) -> None:
    ax = figures.plot_walsh(binary, Figure().subplots())
    roots = [energy.root() for energy in binary.walsh.energy]
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["samples"].get_ydata() == pytest.approx([root.value for root in roots])
    assert lines["language"].get_ydata() == pytest.approx([0, 0, 0, 1])
    bars = [list(line.get_ydata()) for line in ax.lines if line.get_label().startswith("_")]
    assert bars == [[root.low, root.high] for root in roots]


def test_more_symbols_than_two_have_no_spectrum(ternary: Distribution) -> None:
    with pytest.raises(UsageError, match="two symbols"):
        figures.plot_walsh(ternary, Figure().subplots())


def test_the_figure_has_a_panel_more_for_two_symbols(
    binary: Distribution, ternary: Distribution, tmp_path: Path
) -> None:
    for found, panels in ((binary, 3), (ternary, 2)):
        figures.draw(found, tmp_path / "distribution")
        with Image.open(tmp_path / "distribution.png") as picture:
            # Matplotlib 3.9 rounds a pixel down.
            assert abs(picture.width - 200 * 3.4 * panels) <= 1
        assert (tmp_path / "distribution.svg").exists()
