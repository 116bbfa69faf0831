"""Figures of the words' distribution: symbol shares, correlations of cells, Walsh spectrum."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from diffprobe.evaluation.words.distribution import Distribution
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, ON_MAP, figure


def draw(result: Distribution, path: Path, symbols: tuple[str, ...] | None = None) -> None:
    """Store shares, correlations and, for two symbols, the Walsh spectrum, as `path`.png and .svg.

    Args:
        result: What to draw.
        path: Without an ending.
        symbols: Their names, V.
    """
    panels = 3 if result.walsh else 2
    with figure(path, 3.4 * panels, 3.0) as canvas:
        axes = canvas.subplots(1, panels)
        plot_shares(result, axes[0], symbols)
        plot_correlations(result, axes[1])
        if result.walsh:
            plot_walsh(result, axes[2])


def plot_shares(result: Distribution, ax: Axes, symbols: tuple[str, ...] | None = None) -> Axes:
    """Draw how far each symbol's share is from the language's; dots beyond the noise floor."""
    shares = result.shares
    difference = (shares.observed - shares.language).T
    limit = max(0.05, float(difference.abs().max()))
    image = ax.imshow(
        100 * difference.numpy(), cmap="RdBu_r", vmin=-100 * limit, vmax=100 * limit, aspect="auto"
    )
    real = ((shares.language < shares.low) | (shares.language > shares.high)).T
    rows, columns = real.nonzero(as_tuple=True)
    ax.plot(columns, rows, ".", color=ON_MAP[0], markersize=4)
    ax.set(
        xlabel="cell",
        ylabel="symbol",
        yticks=range(len(difference)),
        title=f"symbol shares, n = {result.n:,}",
    )
    if symbols is not None:
        ax.set_yticklabels(symbols)
    _bar(ax, image, "excess over the language (points)\ndot: outside the 95 % interval")
    return ax


def plot_correlations(result: Distribution, ax: Axes) -> Axes:
    """Draw Cramér's V: the samples below the diagonal, the language above it."""
    found = result.correlations
    shown = found.observed.tril(-1) + found.language.triu(1)
    shown.fill_diagonal_(math.nan)
    image = ax.imshow(
        shown.numpy(), cmap="viridis", vmin=0, vmax=max(0.2, shown.nan_to_num().max().item())
    )
    length = len(shown)
    ax.plot([-0.5, length - 0.5], [-0.5, length - 0.5], color="0.5", linewidth=1)
    ax.set(xlabel="cell", ylabel="cell", title="samples below, language above")
    floor = float(found.floor.max())
    _bar(ax, image, f"Cramér's V\nnoise floor {floor:.2f}")
    return ax


def plot_walsh(result: Distribution, ax: Axes) -> Axes:
    """Draw the root of the energy of each order beside the language's and the noise floor.

    Raises:
        UsageError: If there are more symbols than two.
    """
    if result.walsh is None:
        raise UsageError("a Walsh spectrum is of words of two symbols")
    roots = [energy.root() for energy in result.walsh.energy]
    orders = list(range(1, len(roots) + 1))
    floors = [root.floor[1] if root.floor else 0.0 for root in roots]
    ax.fill_between(orders, floors, color="0.85", linewidth=0, label="noise floor")
    ax.plot(
        orders,
        [r.language or 0.0 for r in roots],
        "_",
        color=COLORS["bayes"],
        markersize=12,
        label="language",
    )
    for order, root in zip(orders, roots, strict=True):
        ax.plot([order, order], [root.low, root.high], color=COLORS["network"], linewidth=1.5)
    ax.plot(
        orders,
        [r.value or 0.0 for r in roots],
        "o",
        color=COLORS["network"],
        markersize=4,
        label="samples",
    )
    ax.set(
        xlabel="order of interaction (cells)",
        ylabel="RMS Walsh coefficient",
        ylim=(-0.03, 1.05),
        title="interactions, 95 % intervals",
    )
    ax.legend(loc="best")
    return ax


def _bar(ax: Axes, image: Any, label: str) -> None:
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label=label)
