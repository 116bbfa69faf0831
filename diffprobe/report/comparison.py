"""Several sets of samples side by side: runs, samplers, checkpoints or files.

Each pair is compared by its difference of rates. Where samples are paired, sample i of every set
having come from the same noise, the difference is taken over pairs, which tells smaller ones apart;
taken as independent, such sets get an interval that is wider than it need be. Intervals are of the
runs at hand: of what other samples of theirs would give, not other trainings. All p-values of a
comparison are corrected together.
"""

import itertools
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.statistics import Difference, Rate, difference, holm, paired_difference
from diffprobe.verdicts import Verdicts

RATES: dict[str, Callable[[Verdicts], Rate]] = {
    "legible": lambda verdicts: verdicts.legible_rate,
    "grammatical": lambda verdicts: verdicts.grammatical_rate,
}


@dataclass(frozen=True)
class Comparison:
    """Rates of named sets of samples, and what tells them apart.

    Attributes:
        rates: Name of a set -> rate -> its value and interval. "grammatical" is among the legible.
        chance: Name of a set -> grammatical rate of independent symbols in its language.
        differences: Rate -> (first, second) -> first less second. Of paired samples, the
            grammatical rates are compared where both are legible.
        corrected: Rate -> (first, second) -> p after Holm's correction over all in here.
    """

    rates: dict[str, dict[str, Rate]]
    chance: dict[str, float]
    differences: dict[str, dict[tuple[str, str], Difference]]
    corrected: dict[str, dict[tuple[str, str], float]]

    def summary(self) -> dict[str, Any]:
        """Return rates and differences, as JSON can hold them."""
        return {
            "sets": [
                {"name": name, **rates, "chance": self.chance[name]}
                for name, rates in self.rates.items()
            ],
            "differences": [
                {
                    "rate": rate,
                    "first": first,
                    "second": second,
                    **vars(found),
                    "p_corrected": self.corrected[rate][first, second],
                }
                for rate, pairs in self.differences.items()
                for (first, second), found in pairs.items()
            ],
        }

    def lines(self) -> list[str]:
        """Return the rates and differences in words."""
        found = []
        for name, rates in self.rates.items():
            found.append(f"{name}: legible {rates['legible']}")
            found.append(
                f"{name}: grammatical {rates['grammatical']}; chance {self.chance[name]:.1%}"
            )
        for rate, pairs in self.differences.items():
            for (first, second), each in pairs.items():
                p = self.corrected[rate][first, second]
                found.append(
                    f"{rate}, {first} less {second}: {each}; {_finding(p)}, corrected p = {p:.2g}"
                )
        return found

    def markdown(self) -> str:
        """Return two tables to paste: the rates, and the differences."""
        rows = ["| samples | legible | grammatical | chance |", "|---|---|---|---|"]
        for name, rates in self.rates.items():
            cells = " | ".join(rate_cell(rates[rate]) for rate in RATES)
            rows.append(f"| {_escape(name)} | {cells} | {self.chance[name]:.1%} |")
        rows += ["", "| rate | difference | points [95 % interval] | n | p | corrected p |"]
        rows.append("|---|---|---|---|---|---|")
        for rate, pairs in self.differences.items():
            for (first, second), each in pairs.items():
                n = f"{each.n[0]:,} pairs" if each.paired else f"{each.n[0]:,}, {each.n[1]:,}"
                rows.append(
                    f"| {rate} | {_escape(first)} − {_escape(second)} | {_points(each)} | {n} "
                    f"| {each.p:.2g} | {self.corrected[rate][first, second]:.2g} |"
                )
        return "\n".join(rows) + "\n"


def compare(sets: Mapping[str, Verdicts], *, paired: bool = False) -> Comparison:
    """Compare the legible and the grammatical rates of named sets of samples, each with each.

    Args:
        sets: Name -> verdicts, at least two.
        paired: Whether sample i of every set came from the same noise.

    Raises:
        UsageError: If there are fewer than two sets, or paired ones differ in size.
    """
    if len(sets) < 2:
        raise UsageError("a comparison needs two sets of samples or more")
    sizes = {name: len(verdicts.words) for name, verdicts in sets.items()}
    if paired and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size:,}" for name, size in sizes.items())
        raise UsageError(f"paired sets have as many samples each, but {listed}")
    take = _paired if paired else _independent
    differences = {
        rate: {
            (first, second): take(rate, sets[first], sets[second])
            for first, second in itertools.combinations(sets, 2)
        }
        for rate in RATES
    }
    keys = [(rate, pair) for rate, pairs in differences.items() for pair in pairs]
    corrected: dict[str, dict[tuple[str, str], float]] = {rate: {} for rate in RATES}
    for (rate, pair), p in zip(keys, holm([differences[r][k].p for r, k in keys]), strict=True):
        corrected[rate][pair] = p
    return Comparison(
        rates={
            name: {rate: of(verdicts) for rate, of in RATES.items()}
            for name, verdicts in sets.items()
        },
        chance={name: verdicts.product_rate for name, verdicts in sets.items()},
        differences=differences,
        corrected=corrected,
    )


def draw(result: Comparison, path: Path) -> None:
    """Store both rates of each set, with intervals and chance, as `path`.png and .svg."""
    with figure(path, 6.5, 1.0 + 0.32 * len(result.rates)) as canvas:
        plot(result, canvas.subplots())


def plot(result: Comparison, ax: Axes) -> Axes:
    """Draw both rates of each set with their 95 % intervals, and chance, a row each."""
    styles = {"legible": (COLORS["illegible"], "s", -0.12), "grammatical": (None, "o", 0.12)}
    for row, (name, rates) in enumerate(result.rates.items()):
        for rate, (color, marker, shift) in styles.items():
            found, hue, y = rates[rate], color or COLORS["grammatical"], row + shift
            ax.plot([found.low, found.high], [y, y], color=hue, linewidth=1.5)
            if found.value is not None:
                ax.plot(found.value, y, marker, color=hue, markersize=5)
        ax.plot(result.chance[name], row + 0.12, "|", color="0.3", markersize=12)
    ax.set(
        xlim=(-0.02, 1.02),
        ylim=(len(result.rates) - 0.5, -0.5),
        xlabel="rate, 95 % interval",
        yticks=range(len(result.rates)),
        yticklabels=[textwrap.fill(name, 28) for name in result.rates],
    )
    ax.legend(
        handles=[
            Line2D([], [], marker="s", color=COLORS["illegible"], label="legible, of all"),
            Line2D([], [], marker="o", color=COLORS["grammatical"], label="valid, of the legible"),
            Line2D([], [], marker="|", color="0.3", ls="", markersize=10, label="chance of valid"),
        ],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return ax


def _independent(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    return difference(RATES[rate](first), RATES[rate](second))


def _paired(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    if rate == "legible":
        return paired_difference(first.legible, second.legible)
    both = first.legible & second.legible
    return paired_difference(first.grammatical[both], second.grammatical[both])


def _finding(p: float) -> str:
    return "they differ" if p < 0.05 else "not told apart"


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
