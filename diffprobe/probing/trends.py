"""Any probe's headline numbers along training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from diffprobe.foundations.figures import figure
from diffprobe.probing.headlines import network_estimates

# Step, value, lower and upper end.
Point = tuple[int, float, float, float]
MOST = 10  # curves of a panel


def draw_trends(moments: Sequence[Mapping[str, Any]], path: Path, name: str) -> None:
    """Draw every estimate of the network in a probe's summaries against training step.

    Of a probe that goes over noise levels, the excess LDR over step and level. Of more than `MOST`
    curves of one quantity those are drawn that end furthest from 0.

    Args:
        moments: Summaries, each with its "step".
        path: Of the figure, without an ending.
        name: What the figure is called.
    """
    if "levels" in moments[0]:
        with figure(path, 6.0, 3.2) as canvas:
            ax = plot_levels(moments, canvas.subplots())
            label = "excess LDR over Bayes" if is_excess(moments) else "LDR"
            canvas.colorbar(ax.collections[0], ax=ax, label=label)
        return
    # A panel for each quantity: shares, correlations and nats do not go on one axis.
    panels: dict[str, dict[str, list[Point]]] = {}
    for moment in moments:
        for parts, value, low, high in network_estimates(moment):
            panel = panels.setdefault(parts[0], {})
            label = ", ".join(parts[1:]) or "network"
            panel.setdefault(label, []).append((moment["step"], value, low, high))
    if not panels:
        return  # of too few inputs: no number is defined at any step
    with figure(path, 6.5, 0.6 + 2.2 * len(panels)) as canvas:
        axes = canvas.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (title, curves) in zip(axes, panels.items(), strict=True):
            order = sorted(curves, key=lambda label: -abs(curves[label][-1][1]))
            shown = {label: points for label, points in curves.items() if label in order[:MOST]}
            plot_trend(shown, ax).set(ylabel=title)
            if len(curves) > 1:
                ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes[0].set_title(f"{name} along training")
        axes[-1].set_xlabel("training step")


def plot_trend(curves: Mapping[str, Sequence[Point]], ax: Axes) -> Axes:
    """Draw one quantity against training step, a curve for each label."""
    for label, points in curves.items():
        steps, values, lows, highs = zip(*points, strict=True)
        below = [max(0.0, v - low) for v, low in zip(values, lows, strict=True)]
        above = [max(0.0, high - v) for v, high in zip(values, highs, strict=True)]
        ax.errorbar(steps, values, [below, above], marker="o", ms=3, capsize=2, label=label)
    ax.set(xscale="log")
    return ax


def plot_levels(moments: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """Draw the excess LDR, or without an optimum the LDR, over noise level and training step."""
    known = is_excess(moments)
    rows = [
        [(row["excess_ldr"] if known else row["ldr"]["network"])["value"] for row in m["levels"]]
        for m in moments
    ]
    ax.pcolormesh(
        [row["log_snr"] for row in moments[0]["levels"]],
        range(len(rows)),
        np.array(rows, float),
        cmap="RdBu_r" if known else "viridis",
        vmin=-1 if known else 0,
        vmax=1,
        shading="nearest",
    )
    ax.set(
        xlabel="log-SNR (nats); white: the output depends on nothing" if known else "log-SNR",
        ylabel="training step",
        yticks=range(len(rows)),
        yticklabels=[f"{m['step']:,}" for m in moments],
    )
    return ax


def is_excess(moments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether summaries of locality tell an excess over the optimum."""
    return moments[0]["levels"][0]["excess_ldr"] is not None
