"""The figure of a training: its losses, where the noise is, the learning rate, the checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from diffprobe.foundations.figures import COLORS, SERIES, figure
from diffprobe.training.run_folder import RunFolder, validation_loss_of

NAME = "loss"
POINTS = 200  # of the training loss, each a mean over steps next to each other


def draw_losses(run: RunFolder) -> Path | None:
    """Draw a run's losses as loss.png and loss.svg in its folder.

    Returns:
        The PNG; None where there is no line of metrics yet.
    """
    metrics = run.metrics()
    if not metrics:
        return None
    with figure(run.path / NAME, 6.0, 5.2) as canvas:
        top, middle, bottom = canvas.subplots(
            3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3, 1.2)}
        )
        plot_losses(run, metrics, top)
        plot_levels(metrics, run.config().weights, middle)
        plot_rates(metrics, bottom)
    return run.path / f"{NAME}.png"


def plot_losses(run: RunFolder, metrics: Sequence[dict[str, Any]], ax: Axes) -> Axes:
    """Draw the loss of training and of validation, and mark the checkpoints."""
    first, losses = run.first_step(), run.losses(metrics).astype(float)
    if len(losses):
        steps, means = _in_blocks(first + 1 + np.arange(len(losses)), losses)
        ax.plot(steps, means, color="#bbbbbb", lw=0.8, label="training")
    steps = [line["step"] for line in metrics]
    names = {validation_loss_of(name): name for name in (*run.config().averages, "raw")}
    for color, (key, name) in zip((COLORS["network"], *SERIES[2:]), names.items(), strict=False):
        values = [line.get(key, np.nan) for line in metrics]
        ax.plot(
            steps, values, color=color, marker=_marker(steps), ms=3, label=f"validation, {name}"
        )
    saved = [step for step in run.checkpoint_steps() if step > first]
    ax.plot(
        saved,
        np.zeros(len(saved)),
        transform=ax.get_xaxis_transform(),
        clip_on=False,
        ls="",
        marker="^",
        ms=4,
        color="black",
        label="checkpoint",
    )
    ax.set(xscale="log", yscale="log", ylabel="loss", title=f"{run.path.resolve().name}: losses")
    _plain_ticks(ax)
    ax.legend(loc="best")
    return ax


def plot_levels(metrics: Sequence[dict[str, Any]], weights: str, ax: Axes) -> Axes:
    """Draw the validation loss of one set of weights by noise level, a curve for each range."""
    told = [m for m in metrics if weights in m.get("validation_loss_by_level", {})]
    by_level = np.array([m["validation_loss_by_level"][weights] for m in told])
    if not by_level.size:
        ax.set_visible(False)
        return ax
    steps = [m["step"] for m in told]
    parts = by_level.shape[1]
    for index, values in enumerate(by_level.T):
        color = mpl.colormaps["viridis"](0.9 * index / max(1, parts - 1))
        label = f"{index / parts:.0%} to {(index + 1) / parts:.0%}"
        ax.plot(steps, values, color=color, marker=_marker(steps), ms=3, label=label)
    ax.set(xscale="log", yscale="log", ylabel=f"validation loss,\n{weights} weights")
    _plain_ticks(ax)
    ax.legend(
        title="noise level, as t", loc="center left", bbox_to_anchor=(1, 0.5), title_fontsize=8
    )
    return ax


def plot_rates(metrics: Sequence[dict[str, Any]], ax: Axes) -> Axes:
    """Draw the learning rate."""
    steps = [line["step"] for line in metrics]
    ax.plot(steps, [line.get("learning_rate", np.nan) for line in metrics], color="black", lw=1)
    ax.set(xscale="log", xlabel="training step", ylabel="learning rate")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return ax


def _in_blocks(steps: Any, values: Any) -> tuple[Any, Any]:
    """Means of neighbours, in blocks that are even on a logarithmic axis."""
    edges = np.unique(np.geomspace(1, len(values) + 1, POINTS).astype(int)) - 1
    sums = np.add.reduceat(values, edges[:-1])
    counts = np.diff(edges)
    return np.add.reduceat(steps, edges[:-1]) / counts, sums / counts


def _marker(steps: Sequence[int]) -> str:
    return "o" if len(steps) < 20 else ""


def _plain_ticks(ax: Axes) -> None:
    """Label a logarithmic axis with plain numbers, also where it spans less than a decade."""
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
