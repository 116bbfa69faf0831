"""Figures of placement: gamma and mu over noise levels."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, color_of, figure

if TYPE_CHECKING:
    from diffprobe.probes.placement.place import Placement
    from diffprobe.probing.subject import Subject


def draw(result: "Placement", subject: "Subject", folder: Path) -> None:
    """Gamma and mu over the weight of the grammar."""
    name = subject.architecture
    with figure(folder / "placement") as canvas:
        ax = plot(result, canvas.subplots(), label=name, color=color_of(name))
        ax.legend(loc="center left", bbox_to_anchor=(1.2, 0.5))


def plot(result: "Placement", ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw gamma and mu where they are told, with their intervals, over the shaded weight."""
    x = result.log_snr.numpy()
    shade = ax.twinx()
    shade.fill_between(x, result.weight.numpy(), color=COLORS["bayes"], alpha=0.12, linewidth=0)
    shade.set_ylabel("grammar, nats per unit log-SNR", color="0.4")
    shade.set_ylim(bottom=0)
    ax.set_zorder(shade.get_zorder() + 1)
    ax.patch.set_visible(False)
    for found, name, line_style in (
        (result.gamma, f"gamma, {label}", "-"),
        (result.mu, "mu above placebos", "--"),
    ):
        told_here = found.low.isfinite()
        if told_here.any():
            y = found.value.where(told_here, math.nan).numpy()
            (line,) = ax.plot(
                x, y, marker="o", markersize=3, label=name, linestyle=line_style, **style
            )
            low, high = found.low.numpy(), found.high.numpy()
            ax.fill_between(x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
    ax.axhline(1, color=COLORS["bayes"], linewidth=1, linestyle=":", label="optimal")
    ax.axhline(0, color=COLORS["product"], linewidth=1, linestyle=":", label="local")
    values = result.gamma.value[result.gamma.low.isfinite()].tolist()
    limits = (min([-0.1, *(v - 0.1 for v in values)]), max([1.1, *(v + 0.1 for v in values)]))
    ax.set(xlabel="log-SNR (nats)", ylabel="share", ylim=limits)
    if result.undefined:
        ax.set_title(f"gamma is undefined: {result.undefined}", fontsize="small")
    return ax
