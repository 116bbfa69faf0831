"""How figures look and how they are stored: one style, one colour per thing, PNG and SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETUP

from diffprobe.foundations.atomic import atomic_file

# Okabe and Ito's palette: told apart with any colour vision.
COLORS = {
    "mlp": "#E69F00",
    "residual-mlp": "#D55E00",
    "unet": "#332288",
    "transformer": "#0072B2",
    "network": "#0072B2",
    "bayes": "#000000",
    "product": "#CC79A7",
    "empirical": "#56B4E9",
    "wiener": "#999933",
    "local-patch": "#882255",
    "grammatical": "#009E73",
    "invalid": "#D55E00",
    "illegible": "#888888",
}


def color_of(name: str) -> str:
    """Return the colour of a network's kind or of an oracle; all networks from outside share one.

    >>> color_of("local-conv") == color_of("network")
    True
    """
    return COLORS.get(name, COLORS["network"])


# What stands for these colours on dark paper; all others are seen on both.
DARK = {
    "#ffffff": "#141518",
    "#000000": "#e8e9eb",
    "#d55e00": "#ee7f33",
    "#332288": "#9c90f2",
    "#0072b2": "#4ea9e0",
    "#56b4e9": "#a9e1ff",
    "#882255": "#c65d92",
    "#009e73": "#22b98c",
    "#888888": "#9a9da3",
    "#117733": "#3fae63",
    "#aa4499": "#cf73c0",
    "#661100": "#cf7260",
    # Greys of matplotlib, "0.3" to "0.95".
    "#4c4c4c": "#b5b8be",
    "#666666": "#a3a7ae",
    "#b2b2b2": "#5b5f66",
    "#cccccc": "#3d4047",
    "#d9d9d9": "#34373d",
    "#f2f2f2": "#222429",
}

# Text upon a colour map, which is the same on any paper.
ON_MAP = ("#010101", "#fefefe")

# For what has no colour of its own, such as samplers: Paul Tol's muted palette.
SERIES = ("#332288", "#117733", "#AA4499", "#DDAA33", "#44AA99", "#661100", "#6699CC", "#888888")

# Solid where nothing is said; dashed, what may lie on another curve.
LINES = {"empirical": "--", "wiener": "--", "local-patch": ":"}

LABELS = {
    "bayes": "Bayes optimum",
    "product": "product (local) optimum",
    "empirical": "empirical optimum",
    "wiener": "Wiener (best linear)",
    "local-patch": "local patches of images",
}

_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "diffprobe",
}


@contextmanager
def figure(path: Path, width: float = 6.0, height: float = 3.5) -> Iterator[Figure]:
    """Yield an empty figure and store it as `path` with the endings .png and .svg.

    Args:
        path: Without an ending.
        width, height: In inches; 6 fill a column of a page.
    """
    with mpl.rc_context(_STYLE):
        # Not pyplot: no global state, no window, whatever backend a notebook has.
        canvas = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(canvas)
        yield canvas
        for ending in ("png", "svg"):
            metadata = {"Date": None} if ending == "svg" else {}
            with atomic_file(path.with_name(f"{path.name}.{ending}")) as partial:
                canvas.savefig(partial, format=ending, dpi=200, metadata=metadata)


def at_level(log_snr: Any) -> str:
    """Return how a noise level is called in titles.

    >>> at_level(-0.94)
    'log-SNR −0.9'
    """
    return f"log-SNR {float(log_snr):.1f}".replace(" -", " −")


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
            0.5,
            why,
            transform=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            fontsize=7,
            color="0.4",
        )
    ax.set_xlim(limits)
