"""Figures of laws: fits and what was held out, the profile, predictions, schedules."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from diffprobe.foundations.figures import SERIES, figure
from diffprobe.laws.curves import Curve
from diffprobe.laws.judging import Judgement
from diffprobe.laws.prediction import Prediction
from diffprobe.laws.profile import Profile
from diffprobe.laws.schedule_pieces import Floats
from diffprobe.laws.uncertainty import log_errors

BAND = 0.18  # how dark an interval is


def draw_fit(path: Path, law: Judgement, curves: Sequence[Curve], held: Sequence[Curve]) -> None:
    """Draw curves and a law, fitted ones beside held-out ones, errors below.

    Args:
        path: Without an ending.
        law: The law.
        curves, held: Those that were fitted and those that were not.
    """
    groups = [("fitted", curves), *([("held out", held)] if held else [])]
    with figure(path, 3.9 * len(groups) + 0.3, 5.6) as canvas:
        axes = canvas.subplots(
            2,
            len(groups),
            sharex="col",
            sharey="row",
            squeeze=False,
            gridspec_kw={"height_ratios": (3, 2)},
        )
        for column, (name, group) in enumerate(groups):
            plot_losses(law, group, axes[0, column]).set_title(f"{law.fit.law} law, {name}")
            plot_errors(law, group, axes[1, column])
        axes[0, 0].set_ylabel("loss")
        axes[1, 0].set_ylabel("predicted − measured,\n% of the loss")


def plot_losses(law: Judgement, curves: Sequence[Curve], ax: Axes) -> Axes:
    """Draw measured losses as points and the law as lines."""
    for color, curve in zip(_colors(len(curves)), curves, strict=True):
        shown = curve.thinned(60)
        ax.plot(shown.steps, shown.losses, ".", ms=3, color=color, label=curve.name)
        ax.plot(curve.steps, law.fit.loss(curve.schedule, curve.steps), lw=0.9, color=color)
    ax.set(xscale="log", yscale="log")
    _plain_ticks(ax)
    ax.legend(title="points measured, lines the law", title_fontsize=8)
    return ax


def plot_errors(law: Judgement, curves: Sequence[Curve], ax: Axes) -> Axes:
    """Draw errors in percent, and how far the intervals reach."""
    for color, curve in zip(_colors(len(curves)), curves, strict=True):
        ax.plot(curve.steps, 100 * log_errors(law.fit, curve), lw=0.9, color=color)
        half = 100 * law.uncertainty.half_width(law.fit, curve.schedule, curve.steps)
        for side in (-half, half):
            ax.plot(curve.steps, side, ls=":", lw=0.7, color=color)
    ax.axhline(0, color="black", lw=0.6)
    ax.set(xscale="log", xlabel="step (dotted: 95 % interval)")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    return ax


def draw_profile(path: Path, found: Profile) -> None:
    """Draw the least objective along beta, and C that goes with it."""
    beta = np.array(found.beta)
    low, high = found.range("beta")
    with figure(path, 6.0, 4.2) as canvas:
        top, bottom = canvas.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
        top.plot(beta, found.objective, ".-", color=SERIES[0])
        top.axhline(found.threshold, color="black", lw=0.7, ls="--", label="fits as well, 95 %")
        top.set(ylabel="least objective", title="multi-power law, all else refitted")
        top.legend(loc="upper left")
        bottom.plot(beta, found.C, ".-", color=SERIES[1], label="C")
        bottom.plot(beta, found.gamma, ".-", color=SERIES[2], label="gamma")
        bottom.set(xscale="log", yscale="log", xlabel="beta", ylabel="value there")
        bottom.legend()
        for ax in (top, bottom):
            ax.axvspan(low, high, color="#888888", alpha=BAND, lw=0)
        bottom.xaxis.set_major_formatter("{x:g}")


def draw_prediction(path: Path, law: str, found: Prediction, measured: Curve | None) -> None:
    """Draw a foretold loss with its interval, what was measured, and the learning rate."""
    with figure(path, 6.0, 4.6) as canvas:
        top, bottom = canvas.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        if measured is not None:
            top.plot(measured.steps, measured.losses, ".", ms=3, color="black", label="measured")
        top.plot(found.steps, found.losses, color=SERIES[0], label=f"{law} law")
        top.fill_between(
            found.steps, found.low, found.high, color=SERIES[0], alpha=BAND, lw=0, label="95 %"
        )
        top.set(yscale="log", ylabel="loss", title=path.name)
        _plain_ticks(top)
        top.legend()
        bottom.plot(found.steps, found.rates, color="black", lw=1)
        bottom.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
        bottom.xaxis.set_major_formatter("{x:,.0f}")


def draw_schedules(path: Path, law: str, found: Mapping[str, tuple[Floats, float]]) -> None:
    """Draw schedules beside each other, with the final losses that a law foretells.

    Args:
        path: Without an ending.
        law: Its name.
        found: By name, the rates (N,) and the final loss.
    """
    with figure(path, 6.0, 3.6) as canvas:
        ax = canvas.subplots()
        for color, (name, (rates, loss)) in zip(SERIES, found.items(), strict=False):
            steps = np.unique(np.linspace(0, len(rates) - 1, 1000).round().astype(int))
            ax.plot(steps, rates[steps], color=color, lw=1.2, label=f"{name}: {loss:.4f}")
        ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
        ax.set_title(f"final loss by the {law} law")
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.legend(loc="lower center")


def _colors(n: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(n)]


def _plain_ticks(ax: Axes) -> None:
    """Label a logarithmic axis of losses with plain numbers."""
    ax.yaxis.set_major_locator(LogLocator(subs=tuple(range(1, 10))))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
