"""What a figure says of itself: lines that coincide, points beyond the axis, gaps and why."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETUP

BESIDE = 0.04  # of the axis's width


def mark_coincident(ax: Axes, within: float = 0.01) -> None:
    """Say in the legend which lines lie on one another, and draw the hidden one in dashes.

    Two lines coincide where they are no further apart than `within` of the axis's height at every
    place that both have, three or more. The later one is named after the earlier, and drawn
    over it.
    """
    seen: list[tuple[str, Line2D]] = []
    scale = ax.transScale + ax.transLimits
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        line = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
        if not isinstance(line, Line2D):
            continue
        for earlier, other in seen:
            apart = _distance(scale, line, other)
            if apart is not None and apart <= within:
                handle.set_label(f"{label} (= {earlier})")
                line.set(linestyle=(0, (3, 3)), zorder=other.get_zorder() + 1)
                break
        if np.size(line.get_xdata()) > 1:
            seen.append((label, line))


def _distance(scale: Any, one: Line2D, other: Line2D) -> float | None:
    """The greatest distance between two lines, in heights of the axis; None if they do not meet."""
    first, second = (scale.transform(line.get_xydata()) for line in (one, other))
    # Points of one place may stand a little beside each other.
    if first.shape != second.shape or np.abs(first - second)[:, 0].max(initial=0) > BESIDE:
        return None
    apart = np.abs(first - second)[:, 1]
    apart = apart[np.isfinite(apart)]
    return float(apart.max()) if len(apart) >= 3 else None


def mark_beyond(ax: Axes, x: np.ndarray, y: np.ndarray, color: Any) -> None:
    """Mark the points above and below the axis by triangles at its edge, with their values."""
    low, high = ax.get_ylim()
    for edge, beyond, marker, align in (
        (high, y > high, CARETUP, "top"),
        (low, y < low, CARETDOWN, "bottom"),
    ):
        if beyond.any():
            edges = np.full(beyond.sum(), edge)
            ax.plot(x[beyond], edges, ls="", marker=marker, color=color, ms=6, zorder=5)
        for place, value in zip(x[beyond], y[beyond], strict=True):
            ax.annotate(
                f"{value:.2g}".replace("-", "−"),
                (place, edge),
                (0, -8 if align == "top" else 8),
                textcoords="offset points",
                ha="center",
                va=align,
                fontsize=7,
                color=color,
            )


def explain_gaps(ax: Axes, x: np.ndarray, told: np.ndarray, why: str) -> None:
    """Shade where nothing is told and say why, once, in the widest of these ranges.

    Args:
        ax: Whose horizontal axis `x` is on; its limits stay.
        x: (T,) in ascending order.
        told: (T,) bool.
        why: A few words.
    """
    limits = ax.get_xlim()
    gaps = []
    edges = np.flatnonzero(np.diff(np.concatenate([[True], told, [True]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        left = limits[0] if start == 0 else (x[start - 1] + x[start]) / 2
        right = limits[1] if end == len(x) else (x[end - 1] + x[end]) / 2
        ax.axvspan(left, right, color="0.95", linewidth=0, zorder=-1)
        gaps.append((right - left, (left + right) / 2))
    if gaps:
        _, middle = max(gaps)
        ax.text(
            middle,
            0.97,  # from the top: lines of chance run low
            why,
            transform=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="top",
            fontsize=7,
            color="0.4",
        )
    ax.set_xlim(limits)
