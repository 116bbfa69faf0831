"""Figures of what is followed along training."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from diffprobe.foundations.figures import COLORS, at_level, color_of, figure
from diffprobe.foundations.statistics import Rate
from diffprobe.probing.along import Along


def draw(result: Along, folder: Path, architecture: str) -> None:
    """Shares above, nats below where a grammar is known, on one axis of steps."""
    color = color_of(architecture)
    nats = any(row.get("missed_along_nats") for row in result.rows())
    with figure(folder / "dynamics", 6.0, 5.8 if nats else 4.4) as canvas:
        panels = 1 + nats
        axes = canvas.subplots(
            panels, 1, sharex=True, squeeze=False, height_ratios=[5, 2][:panels]
        )[:, 0]
        plot(result, axes[0], color)
        if nats:
            axes[0].set_xlabel("")
            plot_missed(result, axes[1], color)
        found = [ax.get_legend_handles_labels() for ax in axes]
        handles, labels = ([each for pair in found for each in pair[i]] for i in (0, 1))
        canvas.legend(handles, labels, loc="outside lower center", ncols=2)


def plot(result: Along, ax: Axes, color: str = COLORS["network"]) -> Axes:
    """Draw LDR, gamma, mu, legible rate and grammatical rate against training step."""
    for name, label, line_color, marker in (
        ("ldr", f"LDR at {at_level(result.log_snr)}", color, "o"),
        ("gamma", "gamma, share of the grammar used", COLORS["bayes"], "^"),
        ("mu", "mu, training set above placebos", COLORS["empirical"], "v"),
        ("legible", "legible", COLORS["illegible"], "s"),
        ("grammatical", "grammatical, of the legible", COLORS["grammatical"], "s"),
    ):
        _draw_along(result, ax, name, label=label, color=line_color, marker=marker)
    if result.product_rate is not None:
        ax.axhline(
            result.product_rate,
            color=COLORS["grammatical"],
            linestyle=":",
            lw=1,
            label="chance of grammatical",
        )
    optimum = result.rows()[-1].get("bayes_ldr")
    if optimum is not None:
        ax.axhline(
            optimum["value"],
            color=COLORS["bayes"],
            lw=1,
            ls="--",
            label="LDR of the Bayes optimum",
        )
    ax.set(xscale="log", xlabel="training step", ylabel="share", ylim=(-0.08, 1.05))
    return ax


def plot_missed(result: Along, ax: Axes, color: str = COLORS["network"]) -> Axes:
    """Draw the nats of the grammar that are missed against training step."""
    _draw_along(
        result, ax, "missed_along_nats", label="nats of the grammar missed", color=color, marker="o"
    )
    if result.total_correlation is not None:
        ax.axhline(
            result.total_correlation,
            color=COLORS["product"],
            lw=1,
            ls="--",
            label="nats it is worth",
        )
    ax.set(xscale="log", xlabel="training step", ylabel="nats", ylim=(0, None))
    return ax


def _draw_along(result: Along, ax: Axes, name: str, **style: Any) -> None:
    """Draw one of the measurements with its intervals, where it is defined."""
    points = []
    for row in result.rows():
        value, low, high = _ends(row.get(name))
        if math.isfinite(value):
            # Without an interval the point stands alone.
            below, above = (
                0.0 if math.isnan(d) else max(0.0, d) for d in (value - low, high - value)
            )
            points.append((row["step"], value, below, above))
    if points:
        steps, values, lows, highs = zip(*points, strict=True)
        ax.errorbar(steps, values, [lows, highs], markersize=3, capsize=2, **style)


def _ends(found: "Mapping[str, Any] | Rate | None") -> tuple[float, float, float]:
    """Value, lower and upper end of an estimate or a rate; NaN where it is not defined."""
    if isinstance(found, Rate):
        return math.nan if found.value is None else found.value, found.low, found.high
    if found is None:
        return math.nan, math.nan, math.nan
    return found["value"], found["low"], found["high"]
