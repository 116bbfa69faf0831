"""Figure of recall: shares of facts told, by component."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from diffprobe.foundations.figures import LABELS, color_of, figure
from diffprobe.probes.recall.asking import Recall

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Recall], subject: "Subject", folder: Path) -> None:
    """Store the figure in `folder`."""
    first = next(iter(results.values()))
    with figure(folder / "recall", 2.0 + 1.2 * len(first.components), 3.4) as canvas:
        plot(results, subject.architecture, canvas.subplots())


def plot(results: Mapping[str, Recall], architecture: str, ax: Axes) -> Axes:
    """Draw a point for each denoiser and component, and its interval."""
    for i, (name, result) in enumerate(results.items()):
        who = architecture if name == "network" else name
        beside = 0.15 * (i - (len(results) - 1) / 2)
        places = [k + beside for k in range(len(result.components))]
        rates = list(result.components.values())
        values = [rate.value or 0.0 for rate in rates]
        ax.plot(places, values, "o", color=color_of(who), label=LABELS.get(who, who))
        lows, highs = [rate.low for rate in rates], [rate.high for rate in rates]
        ax.vlines(places, lows, highs, color=color_of(who), lw=1.5)
    names = list(next(iter(results.values())).components)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="facts recalled", xlim=(-0.5, len(names) - 0.5), ylim=(-0.02, 1.02))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7)
    return ax
