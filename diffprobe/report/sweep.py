"""A sweep over samplers, as a table to paste and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes

from diffprobe.evaluation.sweep import Sweep
from diffprobe.foundations.figures import COLORS, SERIES, figure
from diffprobe.foundations.statistics import Rate
from diffprobe.report.comparison import rate_cell

Outcome = Literal["grammatical", "legible"]


def markdown(result: Sweep) -> str:
    """Return the table to paste."""
    head = ["sampler", "evaluations", "legible", "grammatical", "Bayes optimum", "chance"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in result.ways:
        bayes = rate_cell(row.bayes_grammatical) if row.bayes_grammatical else "left out"
        cells = [
            row.name,
            f"{row.nfe:.4g}",
            rate_cell(row.legible),
            rate_cell(row.grammatical),
            bayes,
            f"{result.chance:.1%}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def draw(result: Sweep, path: Path) -> None:
    """Store grammatical and legible rates against function evaluations, as `path`.png and .svg."""
    with figure(path, 7.5, 3.0) as canvas:
        left, right = canvas.subplots(1, 2, sharey=True)
        plot(result, left, "grammatical")
        plot(result, right, "legible").set_ylabel("")
        handles, labels = left.get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside right center")


def plot(result: Sweep, ax: Axes, rate: Outcome = "grammatical") -> Axes:
    """Draw a rate against the number of function evaluations, a line for each sampler and eta.

    Bars are 95 % intervals; the Bayes optimum is drawn in black, its samplers by their markers.
    """
    names = list(dict.fromkeys(row.name for row in result.ways))
    for index, name in enumerate(names):
        rows = sorted((r for r in result.ways if r.name == name), key=lambda r: r.nfe)
        aside = 1.04 ** (index - (len(names) - 1) / 2)  # bars on top of each other hide each other
        marker = "osD^vP*X"[index % 8]
        optimum = [(aside * r.nfe, found) for r in rows if (found := getattr(r, f"bayes_{rate}"))]
        _curve(ax, optimum, COLORS["bayes"], marker, "Bayes optimum" if index == 0 else None, 0.7)
        found = [(aside * r.nfe, getattr(r, rate)) for r in rows]
        _curve(ax, found, SERIES[index % len(SERIES)], marker, name, 1.5)
    if rate == "grammatical":
        ax.axhline(result.chance, color="0.6", linewidth=1, linestyle=":", label="chance")
    counts = sorted({row.nfe for row in result.ways})
    ax.set(
        xscale="log",
        xlabel="function evaluations",
        ylabel="rate, 95 % interval",
        title="grammatical, of the legible" if rate == "grammatical" else "legible, of all",
        ylim=(-0.03, 1.03),
    )
    ax.set_xticks(counts, [f"{c:.4g}" for c in counts])
    ax.minorticks_off()
    return ax


def _curve(
    ax: Axes,
    points: Sequence[tuple[float, Rate]],
    color: str,
    marker: str,
    label: str | None,
    width: float,
) -> None:
    known = [(x, rate.value, rate) for x, rate in points if rate.value is not None]
    if not known:
        return
    below = [max(0.0, value - rate.low) for _, value, rate in known]
    above = [max(0.0, rate.high - value) for _, value, rate in known]
    ax.errorbar(
        [x for x, _, _ in known],
        [value for _, value, _ in known],
        yerr=[below, above],
        color=color,
        marker=marker,
        markersize=4,
        linewidth=width,
        capsize=2,
        label=label,
    )
