"""Figures of two layers: losses beside the plateau, and what neurons serve, along training."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, at_level, figure
from diffprobe.probes.two_layer.losses import TwoLayer


def draw(result: TwoLayer, folder: Path) -> None:
    """Draw the losses at each level above, and what neurons serve below."""
    n = len(result.t)
    with figure(folder / "two-layer", 7.5, 5.6) as canvas:
        halves: Any = canvas.subfigures(2, 1)
        above, below = halves
        panels = above.subplots(1, n, squeeze=False, sharey=True)[0]
        for index, ax in enumerate(panels):
            plot(result, ax, index)
            ax.label_outer()
        above.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        left, right = below.subplots(1, 2)
        plot_alignment(result, left)
        plot_shares(result, right)
        for ax in (left, right):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))


def plot(result: TwoLayer, ax: Axes, level: int = 0) -> Axes:
    """Draw the population loss per pixel at index `level` against step, beside the oracles'."""
    d = result.pixels
    for loss, label, style in (
        (result.loss, "network", {}),
        (result.to_product, "E‖network − product‖²", {"linestyle": "--", "alpha": 0.6}),
    ):
        y = loss[:, level]
        ax.errorbar(
            result.steps.numpy(),
            (y.value / d).numpy(),
            yerr=(torch.stack([y.value - y.low, y.high - y.value]).nan_to_num() / d).numpy(),
            color=COLORS["mlp"],
            marker="o",
            markersize=3,
            label=label,
            **style,  # type: ignore[arg-type]
        )
    for name, value, label in (
        ("product", result.product_loss.value, "product (plateau)"),
        ("bayes", result.bayes_loss.value, "Bayes optimum"),
    ):
        ax.axhline(value[level].item() / d, color=COLORS[name], linewidth=1.2, label=label)
    ax.set(
        xscale="log",
        xlabel="training step",
        ylabel="population loss per pixel",
        title=at_level(result.log_snr[level]),
    )
    ax.set_ylim(bottom=0, auto=True)  # else the next panel's losses are cut off
    return ax


def plot_alignment(result: TwoLayer, ax: Axes) -> Axes:
    """Draw mean cosines of neurons with the nearest coordinate and parity direction."""
    names = {
        "coordinate": ("nearest coordinate", COLORS["product"]),
        "parity": ("nearest parity direction", COLORS["bayes"]),
    }
    _draw_statistics(result, ax, names)
    ax.set(ylabel="cosine, mean over neurons", ylim=(0, 1.05))
    return ax


def plot_shares(result: TwoLayer, ax: Axes) -> Axes:
    """Draw the shares of neurons that serve one coordinate, or one parity direction."""
    threshold = result.settings["threshold"]
    names = {
        "serving_coordinate_through": (
            f"one coordinate in and out (≥ {threshold:g})",
            COLORS["product"],
        ),
        "serving_parity": (f"one parity direction (≥ {threshold:g})", COLORS["bayes"]),
    }
    _draw_statistics(result, ax, names)
    ax.set(ylabel="share of neurons", ylim=(-0.03, 1.05))
    return ax


def _draw_statistics(result: TwoLayer, ax: Axes, names: dict[str, tuple[str, str]]) -> None:
    statistics = result.statistics
    for name, (label, color) in names.items():
        plain, weighted = statistics[name].T.numpy()
        steps = result.steps.numpy()
        ax.plot(steps, weighted, color=color, marker="o", markersize=3, label=f"{label}, weighted")
        ax.plot(steps, plain, color=color, marker="o", markersize=3, mfc="white", ls="--", lw=1)
        ax.axhline(result.chance[name], color=color, linestyle=":", linewidth=1)
    ax.plot([], [], color="0.4", ls="--", lw=1, marker="o", mfc="white", label="not weighted")
    ax.plot([], [], color="0.4", ls=":", lw=1, label="random directions")
    ax.set(xscale="log", xlabel="training step")
