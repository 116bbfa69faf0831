"""Figures of reuse: E against K, and how well R is told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from diffprobe.foundations.figures import SERIES, figure
from diffprobe.laws.reuse import Reuse, ReuseTable
from diffprobe.laws.saturation import Profile, Saturation, saturating

MOST = len(SERIES)  # curves that are told apart by colour


def draw_reuse(path: Path, found: ReuseTable, fits: Sequence[Saturation]) -> None:
    """Draw E against K beside E = K, and the saturating forms that were fitted.

    Args:
        path: Without an ending.
        found: At least one E defined.
        fits: Of the saturating form.
    """
    with figure(path, 4.6, 3.6) as canvas:
        plot_reuse(found, fits, canvas.subplots())


def plot_reuse(found: ReuseTable, fits: Sequence[Saturation], ax: Axes) -> Axes:
    """Draw E against K, a curve for each network and N; grey where there are too many."""
    curves: dict[tuple[float, float], list[Reuse]] = {}
    for each in found.content:
        if each.factor.value is not None:
            curves.setdefault((each.parameters, each.unique), []).append(each)
    forms = {(fit.parameters, fit.unique): fit.r.value for fit in fits}
    every = [each.passes for points in curves.values() for each in points]
    line = np.geomspace(1.0, max(every), 200)
    for i, ((parameters, unique), points) in enumerate(curves.items()):
        size = f", {parameters:.3g} parameters" if parameters else ""
        color = SERIES[i % MOST] if len(curves) <= MOST else "0.5"
        label = f"N = {unique:.4g}{size}" if len(curves) <= MOST else ""
        if len(curves) > MOST and i == 0:
            label = "for each network and N"
        ks, es = [p.passes for p in points], [p.factor.value or 0.0 for p in points]
        ax.plot(ks, es, "o-", ms=3, lw=0.8, label=label, color=color)
        if (parameters, unique) in forms:
            form = saturating(line, forms[parameters, unique])
            ax.plot(line, form, "--", lw=0.8, color=color)
        known = [p for p in points if p.factor.low is not None and p.factor.high is not None]
        if known:
            ax.vlines(
                [p.passes for p in known],
                [p.factor.low or 0.0 for p in known],
                [p.factor.high or 0.0 for p in known],
                alpha=0.4,
                lw=2.5,
                color=color,
            )
    ax.plot(line, line, ":", color="0.4", lw=0.9, label="E = K")
    ax.set(xscale="log", yscale="log", xlabel="passes K", ylabel="effective reuse E(K, N)")
    ax.legend(fontsize=7)
    return ax


def draw_profile(path: Path, fit: Profile, name: str) -> None:
    """Draw the least objective against R, the R that fit as well shaded.

    Args:
        path: Without an ending.
        fit: With its profile.
        name: Of R.
    """
    with figure(path, 4.6, 3.2) as canvas:
        plot_profile(fit, name, canvas.subplots())


def plot_profile(fit: Profile, name: str, ax: Axes) -> Axes:
    """Draw a profile."""
    ax.axvspan(
        fit.low or fit.at[0],
        fit.high or fit.at[-1],
        color=SERIES[0],
        alpha=0.15,
        lw=0,
        label="95 %",
    )
    ax.plot(fit.at, fit.objective, color=SERIES[0])
    ax.plot([fit.value], [fit.least], "o", ms=4, color=SERIES[0], label=f"least, {fit.value:.3g}")
    ax.set(xscale="log", xlabel=name, ylabel="objective")
    # What lies far up says nothing.
    ax.set_ylim(fit.least * 0.98, fit.least * 1.5)
    ax.legend()
    return ax
