"""Figures of the detectors: a forest of AUROCs, distributions of scores, samples by verdict."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from diffprobe.foundations.errors import unknown_name
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.figures import COLORS, at_level, color_of, figure
from diffprobe.foundations.ranks import Auroc
from diffprobe.probes.detectors.by_verdict import QUANTITIES
from diffprobe.probes.detectors.names import KNOWS, LABELS
from diffprobe.probes.detectors.scores import Detectors, best

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


# Quantities without a unit, which go on one axis.
SHARES = ("ldr", "excess_ldr", "gamma")


def draw(results: Mapping[str, Detectors], subject: "Subject", folder: Path) -> None:
    """Store the forest of AUROCs, trajectory variance beside the best detector, and by verdict.

    Nothing where no AUROC is defined. The best is chosen among those that do not know the grammar.
    """
    network = results["network"]
    if all(area.value is None for area in network.auroc.values()):
        return  # all samples are valid, or none is
    with figure(folder / "detectors", 7.5, 3.2) as canvas:
        ax = canvas.subplots()
        plot(network, ax, results.get("product"), color_of(subject.architecture))
        rate = network.invalid
        ax.set_title(f"{rate.count:,} of {rate.n:,} legible samples break the grammar")
    shown = dict.fromkeys(("trajectory_variance", best(network)))
    with figure(folder / "detector-scores", 3.6 * len(shown), 2.8) as canvas:
        for ax, name in zip(canvas.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            plot_scores(network, name, ax)
            value = network.auroc[name].value
            ax.set_title("AUROC undefined" if value is None else f"AUROC {value:.3f}")
            ax.legend()
    with figure(folder / "detectors-by-verdict", 7.5, 2.8) as canvas:
        left, right = canvas.subplots(1, 2)
        plot_excess(network, left)
        plot_differences(network, right, results.get("product"), color_of(subject.architecture))
        for ax in (left, right):
            if ax.get_legend_handles_labels()[0]:
                ax.legend()


def plot(
    result: Detectors, ax: Axes, control: Detectors | None = None, color: str = COLORS["network"]
) -> Axes:
    """Draw each detector's AUROC with its 95 % interval, coloured by what it knows.

    Args:
        result: Of the network's samples.
        ax: Where to draw.
        control: Of the product oracle's samples, drawn hollow.
        color: Of the detectors that know nothing but the denoiser.
    """
    colors = {"nothing": color, "symbols": COLORS["product"], "grammar": COLORS["bayes"]}
    chance = ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", label="chance")
    for part, shift in ((result, 0.0), (control, 0.3)):
        for row, (name, area) in enumerate(part.auroc.items() if part else ()):
            hue, y = colors[KNOWS[name]], row + shift
            if area.value is None:
                if part is control:
                    continue  # hardly any of its samples are valid
                ax.text(0.51, y, "undefined", color=hue, va="center", fontsize=7)
                continue
            _plot_interval(ax, area, y, hue, "white" if part is control else hue)
    ax.set(
        xlim=(-0.02, 1.02),
        xlabel="AUROC, invalid against valid samples",
        yticks=range(len(result.scores)),
        yticklabels=[LABELS[name] for name in result.scores],
    )
    ax.invert_yaxis()
    handles = [
        Line2D([], [], marker="o", color=colors[key], label=label)
        for key, label in (
            ("nothing", "the denoiser alone"),
            ("symbols", "knows the symbols"),
            ("grammar", "knows the grammar"),
        )
    ]
    if control and any(area.value is not None for area in control.auroc.values()):
        label = "samples of the product oracle"
        handles.append(
            Line2D([], [], marker="o", color="0.4", markerfacecolor="white", label=label)
        )
    ax.legend(handles=[*handles, chance], loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_scores(result: Detectors, name: str, ax: Axes) -> Axes:
    """Draw one detector's cumulative distributions among valid and invalid samples.

    Raises:
        UsageError: If there is no such detector.
    """
    if name not in result.scores:
        raise unknown_name("detector", name, result.scores)
    score = result.scores[name]
    for label, chosen in _by_verdict(result):
        if chosen.any():
            text = f"{label} ({int(chosen.sum()):,})"
            ax.ecdf(score[chosen].numpy(), color=COLORS[label], label=text)
    ax.set(xlabel=f"{LABELS[name]} (score)", ylabel="share of samples below", ylim=(0, 1))
    return ax


def plot_excess(result: Detectors, ax: Axes) -> Axes:
    """Draw histograms of the excess LDR at valid and at invalid samples, and their means."""
    excess = result.each["excess_ldr"]
    bins = [i / 20 for i in range(-20, 21)]
    for label, chosen in _by_verdict(result):
        told = excess[chosen & excess.isfinite()]
        if not len(told):
            continue
        share = torch.full_like(told, 1 / len(told))
        ax.hist(told, bins, weights=share, color=COLORS[label], alpha=0.5, label=label)
        ax.axvline(float(told.mean()), color=COLORS[label], linewidth=1.5)
    if not excess.isfinite().any():
        ax.text(
            0.5,
            0.5,
            "undefined: the optimum depends on nothing",
            transform=ax.transAxes,
            ha="center",
        )
    ax.set(
        xlabel="excess LDR over Bayes, of a sample; lines: means",
        ylabel="share of samples",
        title=at_level(result.log_snr),
    )
    return ax


def plot_differences(
    result: Detectors, ax: Axes, control: Detectors | None = None, color: str = COLORS["network"]
) -> Axes:
    """Draw what invalid samples are beyond valid ones, with 95 % intervals.

    Args:
        result: Of the network's samples.
        ax: Where to draw.
        control: Of the product oracle's samples, drawn hollow.
        color: Of the network.
    """
    ax.axvline(0, color="0.6", linewidth=1, linestyle=":")
    parts = {"network": (result, color, color, 0.0)}
    if control is not None:
        parts["product oracle"] = (control, COLORS["product"], "white", 0.3)
    for label, (part, hue, fill, shift) in parts.items():
        for row, name in enumerate(SHARES):
            told = part.by_verdict[name]["difference"].estimate()
            if told.low is None:
                continue
            _plot_interval(ax, told, row + shift, hue, fill, label)
            label = "_"
    ax.set(
        xlabel="invalid less valid samples",
        yticks=range(len(SHARES)),
        yticklabels=[QUANTITIES[name] for name in SHARES],
    )
    ax.invert_yaxis()
    return ax


def _plot_interval(
    ax: Axes, found: Auroc | Estimate, y: float, color: str, fill: str, label: str = "_"
) -> None:
    if found.value is None or found.low is None or found.high is None:
        return
    ax.plot([found.low, found.high], [y, y], color=color, linewidth=1.5)
    ax.plot(found.value, y, "o", color=color, markersize=5, markerfacecolor=fill, label=label)


def _by_verdict(result: Detectors) -> Iterator[tuple[str, Tensor]]:
    yield "grammatical", result.grammatical
    yield "invalid", result.legible & ~result.grammatical
