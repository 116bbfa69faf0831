"""Figures of conditional information along the noise."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, SERIES, color_of, figure
from diffprobe.foundations.intervals import Interval

if TYPE_CHECKING:
    from diffprobe.probes.conditional_information.information import ConditionalInformation
    from diffprobe.probing.subject import Subject


def draw(result: "ConditionalInformation", subject: "Subject", folder: Path) -> None:
    """Information above, the network's distance to the local optima below."""
    with figure(folder / "conditional-information", 6.0, 5.6) as canvas:
        above, below = canvas.subplots(2, sharex=True)
        plot(result, above)
        plot_distance(result, below, label=subject.architecture)
        above.set_xlabel("")
        canvas.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def plot(result: "ConditionalInformation", ax: Axes, **style: Any) -> Axes:
    """Draw what far cells tell beyond the near ones, a curve a radius."""
    for r, radius in enumerate(result.radii):
        _curve(ax, result.log_snr, result.information[r], f"radius {radius}", SERIES[r], style)
    ax.set(xlabel="log-SNR (nats)", ylabel="nats a cell", title="what far cells tell of a cell")
    ax.set_ylim(bottom=0)
    return ax


def plot_distance(
    result: "ConditionalInformation", ax: Axes, label: str = "network", **style: Any
) -> Axes:
    """Draw how far the network is from the local optimum of each radius, and from Bayes."""
    for r, radius in enumerate(result.radii):
        _curve(ax, result.log_snr, result.distance[r], f"radius {radius}", SERIES[r], style)
    _curve(ax, result.log_snr, result.missed_network, "Bayes optimum", COLORS["bayes"], style, ":")
    ax.set(
        xlabel="log-SNR (nats)",
        ylabel="nats per unit log-SNR",
        title=f"how far {label} is from the local optimum of a radius",
    )
    ax.title.set_color(color_of(label))
    ax.set_ylim(bottom=0)
    return ax


def _curve(
    ax: Axes, x: Any, found: Interval, label: str, color: str, style: Any, line: str = "-"
) -> None:
    x = x.numpy()
    ax.plot(x, found.value.numpy(), line, color=color, label=label, **style)
    low, high = found.low.numpy(), found.high.numpy()
    ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
