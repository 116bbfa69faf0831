"""Figure of proportions: how each component's error falls, and the expected error by shares."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from diffprobe.foundations.figures import SERIES, figure
from diffprobe.laws.falling_errors import error_after
from diffprobe.laws.proportions import Proportions


def draw_proportions(path: Path, found: Proportions) -> None:
    """Draw the fits and the shares.

    Args:
        path: Without an ending.
        found: What is drawn.
    """
    with figure(path, 7.0, 3.0) as canvas:
        left, right = canvas.subplots(1, 2)
        plot_fits(found, left)
        plot_shares(found, right)


def plot_fits(found: Proportions, ax: Axes) -> Axes:
    """Draw each component's errors and its law, with where data drawn anew put it shaded."""
    for i, fit in enumerate(found.components):
        color = SERIES[i % len(SERIES)]
        ax.plot(fit.samples, fit.errors, "o", ms=3, color=color)
        line = np.geomspace(min(fit.samples), max(fit.samples), 100)
        alpha = fit.alpha.value or 0.0
        ax.plot(line, fit.at(line), color=color, lw=1, label=f"{fit.name}, alpha {alpha:.2g}")
        if len(fit.drawn):
            drawn = error_after(line[:, None], fit.drawn[None])
            low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
            ax.fill_between(line, low, high, color=color, alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log", xlabel="samples of the component", ylabel="its error")
    ax.legend()
    return ax


def plot_shares(found: Proportions, ax: Axes) -> Axes:
    """Draw the share of each component: the test's, and the best one with its interval."""
    for i, (name, best) in enumerate(found.shares.items()):
        color = SERIES[i % len(SERIES)]
        ax.bar(i - 0.2, found.test[name], 0.36, color=color, alpha=0.35)
        ax.bar(i + 0.2, best.value or 0.0, 0.36, color=color)
        if best.low is not None and best.high is not None:
            ax.vlines(i + 0.2, best.low, best.high, color="0.2", lw=1.5)
    ax.set_xticks(range(len(found.shares)), list(found.shares))
    ax.set(ylabel="share", ylim=(0, 1), title="pale: of the test; full: best in training")
    return ax
