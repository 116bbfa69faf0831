"""Figure of recall: shares of facts told, by component."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from diffprobe.foundations.figures import LABELS, color_of, figure
from diffprobe.foundations.statistics import Rate
from diffprobe.probes.recall.asking import Recall

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Recall], subject: "Subject", folder: Path) -> None:
    """Store the figure in `folder`."""
    first = next(iter(results.values()))
    with figure(folder / "recall", 2.6 + 1.2 * len(first.components), 3.0) as canvas:
        plot(results, subject.architecture, canvas.subplots())


def plot(results: Mapping[str, Recall], architecture: str, ax: Axes) -> Axes:
    """Draw a bar for each denoiser and component, and its interval."""
    width = 0.8 / len(results)
    for i, (name, result) in enumerate(results.items()):
        who = architecture if name == "network" else name
        for k, rate in enumerate(result.components.values()):
            _bar(ax, k + (i - (len(results) - 1) / 2) * width, width, rate, who, k == 0)
    names = list(next(iter(results.values())).components)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="facts recalled", ylim=(0, 1.02))
    ax.legend()
    return ax


def _bar(ax: Axes, x: float, width: float, rate: Rate, who: str, is_first: bool) -> None:
    label = LABELS.get(who, who) if is_first else None
    ax.bar(x, rate.value or 0.0, 0.9 * width, color=color_of(who), label=label)
    ax.vlines(x, rate.low, rate.high, color="0.2", lw=1.5)
