"""Figures of placement: gamma and mu over noise levels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, color_of, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.marks import explain_gaps, mark_beyond

if TYPE_CHECKING:
    from diffprobe.probes.placement.place import Placement
    from diffprobe.probing.subject import Subject


# Wider intervals say little: the axis need not reach these points.
WELL_MEASURED = 0.5


def draw(result: "Placement", subject: "Subject", folder: Path) -> None:
    """Gamma and mu over the weight of the grammar; nothing where gamma is defined nowhere."""
    if result.undefined:
        return
    name = subject.architecture
    with figure(folder / "placement", 6.0, 3.8) as canvas:
        ax = plot(result, canvas.subplots(), label=name, color=color_of(name))
        canvas.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def plot(result: "Placement", ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw gamma and mu where they are told, with their intervals, over the shaded weight.

    The axis reaches as far as the points that are measured well; the others are marked at its edge.
    """
    x = result.log_snr.numpy()
    shade = ax.twinx()
    shade.fill_between(x, result.weight.numpy(), color=COLORS["bayes"], alpha=0.12, linewidth=0)
    shade.set_ylabel("grammar, nats per unit log-SNR", color="0.4")
    shade.set_ylim(bottom=0)
    ax.set_zorder(shade.get_zorder() + 1)
    ax.patch.set_visible(False)
    curves = [
        (result.gamma, f"gamma, {label}", "-"),
        (result.mu, "mu above placebos", "--"),
    ]
    drawn = []
    for found, name, line_style in curves:
        known = found.value.isfinite()
        if known.any():
            told = found.low.isfinite()
            (line,) = ax.plot(
                x,
                found.value.where(told, math.nan).numpy(),
                marker="o",
                markersize=3,
                label=name,
                linestyle=line_style,
                **style,
            )
            low, high = found.low.numpy(), found.high.numpy()
            ax.fill_between(x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
            bare = (known & ~told).numpy()
            if bare.any():
                y = found.value.numpy()[bare]
                ax.plot(x[bare], y, "o", ms=4, mfc="white", mec=line.get_color())
            drawn.append((line.get_color(), found))
    ax.axhline(1, color=COLORS["bayes"], linewidth=1, linestyle=":", label="optimal")
    ax.axhline(0, color=COLORS["product"], linewidth=1, linestyle=":", label="local")
    ax.set(xlabel="log-SNR (nats)", ylabel="share", ylim=_limits([found for _, found in drawn]))
    for color, found in drawn:
        mark_beyond(ax, x, found.value.numpy(), color)
    known = result.gamma.value.isfinite()
    if result.undefined:
        ax.set_title(f"gamma is undefined: {result.undefined}", fontsize="small")
    else:
        if (known & ~result.gamma.low.isfinite()).any():
            ax.plot(
                [], [], "o", ms=4, mfc="white", mec="0.5", label="no interval: a few draws decide"
            )
        ax.set_xlim(*_around(x, known.numpy()))
        explain_gaps(
            ax, x, known.numpy(), "gamma is not defined:\nthe grammar is worth nothing here"
        )
    return ax


def _limits(curves: Sequence[Interval]) -> tuple[float, float]:
    """Room for 0, 1 and what is measured well, a tenth above and below."""
    shown = [0.0, 1.0]
    for found in curves:
        well = found.high - found.low < WELL_MEASURED
        shown += found.value[well].tolist()
    return min(shown) - 0.1, max(shown) + 0.1


def _around(x: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """The range of `x (T,)` with what is `where (T,)` in its middle half."""
    first, last = x[where][[0, -1]]
    room = max(2.0, (last - first) / 2)
    return max(x[0], first - room), min(x[-1], last + room)
