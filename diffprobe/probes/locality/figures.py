"""Figures of locality: ratios over noise levels, dependence matrices, decay with distance."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWN
from torch import Tensor

from diffprobe.foundations.figures import (
    LABELS,
    LINES,
    at_level,
    color_of,
    figure,
)
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.marks import explain_gaps, mark_coincident
from diffprobe.probes.locality.beside import beside_the_optimum
from diffprobe.probes.locality.ldr import Locality, excess
from diffprobe.probing.ratio import FLOOR

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def plot(result: Locality, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw the LDR against log-SNR with its 95 % band; the curve ends where no interval is told."""
    _draw_curve(ax, result.log_snr, result.ldr, label=label, **style)
    ax.set(xlabel="log-SNR (nats)", ylabel=f"LDR ({result.settings['variant']})", ylim=(0, 1.05))
    return ax


def plot_excess(log_snr: Tensor, gap: Interval, ax: Axes, **style: Any) -> Axes:
    """Draw LDR(network) − LDR(oracle) against log-SNR with its 95 % band."""
    _draw_curve(ax, log_snr, gap, **style)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set(xlabel="log-SNR (nats)", ylabel="excess LDR")
    return ax


def plot_dependence(result: Locality, ax: Axes, level: int) -> Axes:
    """Draw the shares of dependence at index `level`, each row divided by its sum."""
    matrix = result.shares.value[level]
    share = (matrix / matrix.sum(1, keepdim=True)).numpy()
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis")
    if result.ldr.value[level].isnan():
        ax.images[0].set_visible(False)
        ax.text(0.5, 0.5, "depends on\nnothing", ha="center", va="center", transform=ax.transAxes)
    rows, columns = share.shape
    step = max(1, rows // 8)
    names = [str(i) for i in range(0, rows, step)]
    ax.set(
        xlabel="input region",
        ylabel="output region",
        yticks=range(0, rows, step),
        title=at_level(result.log_snr[level]),
    )
    rest = columns > rows
    ax.set_xticks([*range(0, rows, step), *[rows] * rest], [*names, *["rest"] * rest])
    return ax


def plot_decay(
    result: Locality,
    ax: Axes,
    level: int,
    label: str = "network",
    *,
    aside: float = 0.0,
    **style: Any,
) -> Axes:
    """Draw the decay of dependence with distance at index `level`, on a logarithmic scale.

    The axis goes down to what can be told from nothing; what cannot is a caret with an upper end
    alone, at the edge where it is less.

    Args:
        aside: How far the points stand beside their distance, in pixels: bars on top of each other
            hide each other.
    """
    decay = result.decay[level]
    told = (decay.value > FLOOR) & ~(decay.low <= FLOOR)  # no interval says nothing against it
    least = torch.cat([decay.value[told], torch.ones(1)]).min().item()
    bottom = 10.0 ** math.floor(math.log10(least) - 0.3)
    if ax.get_yscale() == "log":  # others are drawn already
        bottom = min(bottom, ax.get_ylim()[0])
    ends = (
        torch.stack([decay.value - decay.low, decay.high - decay.value]).nan_to_num().clamp(min=0)
    )
    places = result.distances + aside
    (line, _, _) = ax.errorbar(
        places.numpy(),
        decay.value.where(told, math.nan).numpy(),
        yerr=ends.numpy(),
        marker="o",
        markersize=3,
        capsize=2,
        label=label,
        **style,
    )
    ax.set(
        xlabel="distance between regions (pixels)",
        ylabel="dependence, share of the own region’s",
        yscale="log",
        ylim=(bottom, 2),
        title=at_level(result.log_snr[level]),
    )
    untold = ~told & decay.value.isfinite()
    if untold.any():
        at, lowest = places[untold].numpy(), decay.value[untold].clamp(min=bottom).numpy()
        ax.vlines(at, lowest, decay.high[untold].numpy(), color=line.get_color())
        ax.plot(at, lowest, ls="", marker=CARETDOWN, ms=6, color=line.get_color())
    return ax


def draw(results: Mapping[str, Locality], subject: "Subject", folder: Path) -> None:
    """Store every figure of locality in `folder`."""
    results = beside_the_optimum(results)
    gap = excess(results["network"], results["bayes"]) if "bayes" in results else None
    _draw_ldr(results, gap, subject, folder)
    _draw_dependence(results, subject, folder)
    _draw_decay(results, subject, folder)


def _draw_curve(ax: Axes, x: Tensor, found: Interval, **style: Any) -> None:
    told = found.value.where(found.low.isfinite(), torch.nan)
    (line,) = ax.plot(x.numpy(), told.numpy(), marker="o", markersize=3, **style)
    ax.fill_between(
        x.numpy(),
        found.low.numpy(),
        found.high.numpy(),
        color=line.get_color(),
        alpha=0.25,
        linewidth=0,
    )


def _style(name: str, subject: "Subject") -> dict[str, Any]:
    style: dict[str, Any] = {
        "label": LABELS.get(name, subject.architecture),
        "color": color_of(subject.architecture if name == "network" else name),
        "linestyle": LINES.get(name, "-"),
    }
    # The network lies on the product oracle when it is local: in front, and thicker.
    return style | ({"zorder": 3, "linewidth": 2.5} if name == "network" else {})


def _draw_ldr(
    results: Mapping[str, Locality], gap: Interval | None, subject: "Subject", folder: Path
) -> None:
    network = results["network"]
    x = network.log_snr.numpy()
    curves = {name: result.ldr for name, result in results.items()}
    told = torch.stack([found.low.isfinite() for found in curves.values()]).any(0)
    panels = 2 if gap is not None and gap.low.isfinite().any() else 1
    with figure(folder / "ldr", 6.0, 5.6 if panels == 2 else 4.1) as canvas:
        axes = canvas.subplots(
            panels, 1, sharex=True, squeeze=False, height_ratios=[2, 1][:panels]
        ).flatten()
        for name, result in results.items():
            plot(result, axes[0], **_style(name, subject))
        _mark_ends(axes[0], results, told)
        nowhere = subject.regions.no_locality
        axes[0].axhline(nowhere, color="0.6", lw=1, ls=":", label=f"no locality ({nowhere:.2g})")
        if gap is not None and panels == 2:
            plot_excess(network.log_snr, gap, axes[1], color=color_of(subject.architecture))
            axes[0].set_xlabel("")
        what = "grammar is worth most" if subject.dataset else "level of the other probes"
        for t, text, style in (
            (subject.forms_at, "symbols form", "--"),
            (subject.level, what, "-."),
        ):
            if t is not None:
                at = network.log_snr[network.at(t)].item()
                for ax, label in zip(axes, (text, None), strict=False):
                    ax.axvline(at, color="0.5", linewidth=1, linestyle=style, label=label)
        axes[0].set_xlim(x[0] - 0.3, x[-1] + 0.3)
        explain_gaps(axes[0], x, told.numpy(), _why_untold(results, told))
        if gap is not None and panels == 2:
            explain_gaps(axes[1], x, gap.low.isfinite().numpy(), "")
        mark_coincident(axes[0])
        canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _mark_ends(ax: Axes, results: Mapping[str, Locality], told: Tensor) -> None:
    """Mark the last point of a curve that others outlast, and say in the legend why it stops."""
    outlasted = False
    for line, result in zip(ax.lines[-len(results) :], results.values(), strict=True):
        own = result.ldr.low.isfinite()
        if not own.any() or int(own.nonzero()[-1]) == int(told.nonzero()[-1]):
            continue
        last, outlasted = int(own.nonzero()[-1]), True
        x, y = result.log_snr[last].item(), result.ldr.value[last].item()
        ax.plot([x], [y], ls="", marker="|", ms=14, mew=2, color=line.get_color())
    if outlasted:
        why = "ends where it depends on hardly anything"
        ax.plot([], [], ls="", marker="|", ms=9, mew=2, color="0.5", label=why)


def _why_untold(results: Mapping[str, Locality], told: Tensor) -> str:
    """Why no ratio has an interval where none is told."""
    who = "the optimum" if "bayes" in results else "the output"
    few = max([0, *(int(n) for result in results.values() for n in result.ldr.n[~told])])
    if few == 0:
        return f"{who} depends on nothing here"
    return f"{who} depends on anything\nat {few} inputs at most: no interval"


def _draw_decay(results: Mapping[str, Locality], subject: "Subject", folder: Path) -> None:
    network = results["network"]
    level = network.at(subject.level)
    if not network.decay.value[level].isfinite().any():
        return
    step = network.distances[:2].diff().sum().item()
    with figure(folder / "decay", 6.0, 3.8) as canvas:
        ax = canvas.subplots()
        for index, (name, result) in enumerate(results.items()):
            aside = 0.05 * step * (index - (len(results) - 1) / 2)
            plot_decay(result, ax, level, aside=aside, **_style(name, subject))
        mark_coincident(ax)
        ax.plot([], [], ls="", marker=CARETDOWN, color="0.5", label="not told from nothing")
        canvas.legend(loc="outside lower center", ncols=2)


def _draw_dependence(results: Mapping[str, Locality], subject: "Subject", folder: Path) -> None:
    """Matrices of the network (above) and the Bayes oracle, at up to three noise levels.

    Only levels at which something depends on anything, of enough inputs for an interval if any is.
    """
    network = results["network"]
    names = [name for name in ("network", "bayes") if name in results]
    told, known = (
        torch.stack([getattr(results[name].ldr, end).isfinite() for name in names]).any(0)
        for end in ("low", "value")
    )
    among = (told if told.any() else known).nonzero()[:, 0].tolist()
    if not among:
        return
    levels = sorted({among[len(among) // 6], among[-1], network.at(subject.level)} & {*among})
    with figure(folder / "dependence", 2.1 * len(levels) + 1.1, 2.5 * len(names)) as canvas:
        axes = canvas.subplots(len(names), len(levels), squeeze=False, sharex=True, sharey=True)
        for row, name in zip(axes, names, strict=True):
            for ax, level in zip(row, levels, strict=True):
                image = plot_dependence(results[name], ax, level).images[0]
                ax.label_outer()
            row[0].set_ylabel(f"{LABELS.get(name, subject.architecture)}\noutput region")
        canvas.colorbar(image, ax=axes, label="share of ‖J‖² in its row", fraction=0.03)
