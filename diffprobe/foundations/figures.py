"""How figures look and how they are stored: one style, one colour per thing, PNG and SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
def figure(path: Path, width: float = 6.0, height: float = 3.5) -> "Iterator[Figure]":
    """Yield an empty figure and store it as `path` with the endings .png and .svg.

    Args:
        path: Without an ending.
        width, height: In inches; 6 fill a column of a page.
    """
    # Where all figures are there already nothing of matplotlib is needed.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        # Not pyplot: no global state, no window, whatever backend a notebook has.
        canvas = Figure(figsize=(width, height), dpi=200, layout="constrained")
        FigureCanvasAgg(canvas)
        yield canvas
        _store(canvas, path)


def _store(canvas: "Figure", path: Path) -> None:
    # One layout for both files: to find it takes longer than to draw.
    engine = canvas.get_layout_engine()
    if engine is not None:
        engine.execute(canvas)
    canvas.set_layout_engine(None)
    for ending in ("png", "svg"):
        metadata = {"Date": None} if ending == "svg" else {}
        with atomic_file(path.with_name(f"{path.name}.{ending}")) as partial:
            canvas.savefig(partial, format=ending, metadata=metadata)


def at_level(log_snr: Any) -> str:
    """Return how a noise level is called in titles.

    >>> at_level(-0.94)
    'log-SNR −0.9'
    >>> at_level(-0.04)
    'log-SNR 0.0'
    """
    return f"log-SNR {float(log_snr):z.1f}".replace(" -", " −")
