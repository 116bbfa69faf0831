from typing import Any

import pytest
from matplotlib.figure import Figure

from diffprobe.foundations.statistics import wilson
from diffprobe.probing.headlines import network_estimates
from diffprobe.probing.trends import draw_trends, plot_levels, plot_trend


def estimate(value: float, half: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def test_estimates_of_oracles_are_no_trend_of_the_network() -> None:
    content = {
        "share": {"network": estimate(0.5), "bayes": estimate(0.9)},
        "rate": wilson(1, 2),
        "t": 3,
    }
    found = {path: value for path, value, _, _ in network_estimates(content)}
    assert found == {("share",): 0.5, ("rate",): 0.5}


def test_a_trend_goes_through_the_values_with_their_intervals() -> None:
    curves = {"network": [(10, 0.5, 0.4, 0.7), (100, 0.8, 0.8, 0.8)]}
    ax = plot_trend(curves, Figure().subplots())
    (line, _, (bars,)) = ax.containers[0]
    assert line.get_xydata().tolist() == [[10, 0.5], [100, 0.8]]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [pytest.approx([0.4, 0.7]), pytest.approx([0.8, 0.8])]


@pytest.mark.parametrize("known", [True, False])
def test_levels_show_the_excess_where_an_optimum_is_known(known: bool) -> None:
    def level(log_snr: float, value: float) -> dict[str, Any]:
        return {
            "log_snr": log_snr,
            "ldr": {"network": estimate(value + 0.5)},
            "excess_ldr": estimate(value) if known else None,
        }

    moments = [
        {"step": step, "levels": [level(-2.0, 0.1 * step), level(1.0, 0.2 * step)]}
        for step in (1, 2)
    ]
    shown = plot_levels(moments, Figure().subplots()).collections[0].get_array()
    expected = [[0.1, 0.2], [0.2, 0.4]]
    if not known:
        expected = [[0.6, 0.7], [0.7, 0.9]]
    assert shown.tolist() == [pytest.approx(row) for row in expected]


def test_where_nothing_is_defined_nothing_is_drawn(tmp_path: Any) -> None:
    moments = [{"step": 1, "gamma": estimate(float("nan"))}]
    draw_trends(moments, tmp_path / "along-placement", "placement")
    assert not list(tmp_path.iterdir())
    draw_trends([{"step": 1, "gamma": estimate(0.5)}], tmp_path / "along-placement", "placement")
    assert (tmp_path / "along-placement.png").is_file()
