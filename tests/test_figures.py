import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from diffprobe.foundations.figures import COLORS, DARK, ON_MAP, figure
from diffprobe.foundations.marks import explain_gaps, mark_beyond, mark_coincident

pytestmark = pytest.mark.drawn

X = np.arange(5.0)


def test_lines_that_lie_on_one_another_are_named_so() -> None:
    ax = Figure().subplots()
    ax.set_ylim(0, 1)
    ax.plot(X, 0.2 * X, label="first")
    ax.plot(X, 0.2 * X + 0.3, label="apart")
    ax.plot(X, np.where(X < 4, 0.2 * X + 0.001, np.nan), label="second")
    ax.errorbar(X + 0.02, 0.2 * X + 0.301, 0.1, label="bars")
    ax.plot(X[:2], 0.2 * X[:2], label="two points")
    ax.axhline(0.5, label="a level")
    mark_coincident(ax)
    labels = ax.get_legend_handles_labels()[1]
    assert sorted(labels) == [
        "a level",
        "apart",
        "bars (= apart)",
        "first",
        "second (= first)",
        "two points",
    ]
    first, _, second = ax.lines[:3]
    assert second.is_dashed()
    assert not first.is_dashed()
    assert second.get_zorder() > first.get_zorder()


def test_distances_of_lines_are_those_that_are_seen() -> None:
    ax = Figure().subplots()
    ax.set(yscale="log", ylim=(1e-6, 1))
    ax.plot(X, 1e-5 * np.ones(5), label="small")
    ax.plot(X, 1e-3 * np.ones(5), label="a hundred times as large")
    mark_coincident(ax)
    assert "(=" not in " ".join(ax.get_legend_handles_labels()[1])


def test_points_beyond_the_axis_are_marked_at_its_edge_with_their_values() -> None:
    ax = Figure().subplots()
    ax.set(xlim=(0, 4), ylim=(0, 1))
    mark_beyond(ax, X, np.array([0.5, 3.25, 1.0, -12.0, np.nan]), "red")
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 1]], [[3, 0]]]
    assert [text.get_text() for text in ax.texts] == ["3.2", "−12"]
    assert ax.get_ylim() == (0, 1)


def test_gaps_are_shaded_and_the_widest_says_why() -> None:
    ax = Figure().subplots()
    ax.set_xlim(-1, 5)
    explain_gaps(ax, X, np.array([False, True, False, False, False]), "nothing here")
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    assert spans == [(-1, 0.5), (1.5, 5)]
    (text,) = ax.texts
    assert (text.get_text(), text.get_position()[0]) == ("nothing here", 3.25)
    assert ax.get_xlim() == (-1, 5)
    explain_gaps(ax, X, np.ones(5, bool), "no gap")
    assert len(ax.texts) == 1


def test_svg_is_laid_out_as_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places, save = [], Figure.savefig

    def saved(canvas: Figure, *args: Any, **kwargs: Any) -> None:
        save(canvas, *args, **kwargs)
        places.append([ax.get_position().bounds for ax in canvas.axes])

    monkeypatch.setattr(Figure, "savefig", saved)
    with figure(tmp_path / "one") as canvas:
        canvas.subplots().set(ylabel="nats", xlabel="training step")
    png, svg = places
    assert svg == png
    assert png[0][0] > 0.08  # room for the label, which the layout made


def luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("name", COLORS)
def test_every_colour_stands_out_from_dark_paper(name: str) -> None:
    color = DARK.get(COLORS[name].lower(), COLORS[name])
    assert (luminance(color) + 0.05) / (luminance(DARK["#ffffff"]) + 0.05) > 3
    # It is still the same colour.
    hues = [colorsys.rgb_to_hls(*to_rgb(c)) for c in (COLORS[name], color)]
    if min(h[2] for h in hues) > 0.2 and name != "bayes":
        assert abs(hues[0][0] - hues[1][0]) < 0.06


def test_a_figure_names_its_colours_as_the_dark_theme_looks_for_them(tmp_path: Path) -> None:
    assert not {*ON_MAP} & {*DARK}
    with figure(tmp_path / "lines") as canvas:
        ax = canvas.subplots()
        for color in ("0.3", "0.4", "0.7", "0.8", "0.85", "0.95", *COLORS.values()):
            ax.plot(X, X, color=color)
    text = (tmp_path / "lines.svg").read_text()
    for light in DARK.keys() - {"#117733", "#aa4499", "#661100"}:
        assert f"stroke: {light}" in text or f"fill: {light}" in text, light
