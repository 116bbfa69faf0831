"""Several sets of samples side by side, as tables to paste and as a figure."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffprobe.evaluation.comparison import Comparison
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.statistics import Difference, Rate, told_p


def markdown(result: Comparison) -> str:
    """Return two tables to paste: the rates, and the differences."""
    told = list(next(iter(result.rates.values())))
    head = ["samples", *map(_escape, told), *["chance"] * bool(result.chance)]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, rates in result.rates.items():
        chance = [f"{result.chance[name]:.1%}"] if result.chance else []
        cells = [_escape(name), *(rate_cell(rates[rate]) for rate in told), *chance]
        rows.append(f"| {' | '.join(cells)} |")
    if any(result.differences.values()):
        rows += _differences(result)
    notes = [line for note in result.notes for line in ("", _escape(note))]
    return "\n".join(rows + notes) + "\n"


def _differences(result: Comparison) -> list[str]:
    rows = ["", "| rate | difference | points [95 % interval] | n | p | corrected p |"]
    rows.append("|---|---|---|---|---|---|")
    for rate, pairs in result.differences.items():
        for (first, second), each in pairs.items():
            n = f"{each.n[0]:,} pairs" if each.paired else f"{each.n[0]:,}, {each.n[1]:,}"
            rows.append(
                f"| {_escape(rate)} | {_escape(first)} − {_escape(second)} | {_points(each)} | {n} "
                f"| {_cell_of_p(each.p)} | {_cell_of_p(result.corrected[rate][first, second])} |"
            )
    return rows


def _cell_of_p(p: float) -> str:
    return told_p(p).removeprefix("p = ").removeprefix("p ")


def draw(result: Comparison, path: Path) -> None:
    """Store the rates of each set, with intervals and chance, as `path`.png and .svg."""
    rates = len(next(iter(result.rates.values())))
    height = 1.0 + max(0.32, 0.16 * rates) * len(result.rates)
    with figure(path, 6.5, max(height, 0.6 + 0.2 * rates)) as canvas:
        plot(result, canvas.subplots())


def plot(result: Comparison, ax: Axes) -> Axes:
    """Draw the rates of each set with their 95 % intervals, and chance, a row each."""
    styles = _styles(result)
    for row, (name, rates) in enumerate(result.rates.items()):
        for rate, (hue, marker, shift, _) in styles.items():
            found, y = rates[rate], row + shift
            if found.value is not None:
                ax.plot([found.low, found.high], [y, y], color=hue, linewidth=1.5)
                ax.plot(found.value, y, marker, color=hue, markersize=5)
            else:
                ax.text(0, y, "no sample is legible", color="0.3", va="center", fontsize="small")
        if result.chance:
            ax.plot(result.chance[name], row + 0.12, "|", color="0.3", markersize=12)
    ax.set(
        xlim=(-0.02, 1.02),
        ylim=(len(result.rates) - 0.5, -0.5),
        xlabel="rate, 95 % interval",
        yticks=range(len(result.rates)),
        yticklabels=[textwrap.fill(name, 28) for name in result.rates],
    )
    handles = [
        Line2D([], [], marker=marker, color=hue, label=label)
        for hue, marker, _, label in styles.values()
    ]
    if result.chance:
        handles.append(
            Line2D([], [], marker="|", color="0.3", ls="", markersize=10, label="chance of valid")
        )
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _styles(result: Comparison) -> dict[str, tuple[Any, str, float, str]]:
    """Of each rate its colour, marker, place within a row and label."""
    if result.chance:
        return {
            "legible": (COLORS["illegible"], "s", -0.12, "legible, of all"),
            "grammatical": (COLORS["grammatical"], "o", 0.12, "valid, of the legible"),
        }
    rates = list(next(iter(result.rates.values())))
    shifts = [0.7 * ((i + 0.5) / len(rates) - 0.5) for i in range(len(rates))]
    # Any of them in black; of the kinds, those that are many share a colour with others.
    return {
        rate: ("0.3" if i == 0 else f"C{(i - 1) % 10}", "o", shift, textwrap.fill(rate, 24))
        for i, (rate, shift) in enumerate(zip(rates, shifts, strict=True))
    }


def rate_cell(rate: Rate) -> str:
    """Return a rate for a table: value, interval and n."""
    if rate.value is None:
        return "undefined (0 of 0)"
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}], n = {rate.n:,}"


def _points(found: Difference) -> str:
    if found.value is None:
        return "undefined"
    ends = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.value:+.1f} {ends}"


def _escape(name: str) -> str:
    return name.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
