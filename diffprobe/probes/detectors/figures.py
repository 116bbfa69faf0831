"""Figures of the detectors: a forest of AUROCs, and distributions of scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffprobe.foundations.errors import unknown_name
from diffprobe.foundations.figures import COLORS, color_of, figure
from diffprobe.probes.detectors.scores import KNOWS, Detectors, best

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Detectors], subject: "Subject", folder: Path) -> None:
    """Store the forest of AUROCs, and the scores of trajectory variance beside the best detector.

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
    shown = dict.fromkeys(("trajectory variance", best(network)))
    with figure(folder / "detector-scores", 3.6 * len(shown), 2.8) as canvas:
        for ax, name in zip(canvas.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            plot_scores(network, name, ax)
            value = network.auroc[name].value
            ax.set_title("AUROC undefined" if value is None else f"AUROC {value:.3f}")
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
            fill = "white" if part is control else hue
            ax.plot([area.low, area.high], [y, y], color=hue, linewidth=1.5)
            ax.plot(area.value, y, "o", color=hue, markersize=5, markerfacecolor=fill)
    ax.set(
        xlim=(-0.02, 1.02),
        xlabel="AUROC, invalid against valid samples",
        yticks=range(len(result.scores)),
        yticklabels=list(result.scores),
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
    for label, chosen in (
        ("grammatical", result.grammatical),
        ("invalid", result.legible & ~result.grammatical),
    ):
        if chosen.any():
            text = f"{label} ({int(chosen.sum()):,})"
            ax.ecdf(score[chosen].numpy(), color=COLORS[label], label=text)
    ax.set(xlabel=f"{name} (score)", ylabel="share of samples below", ylim=(0, 1))
    return ax
