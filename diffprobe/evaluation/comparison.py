"""Several sets of samples side by side: runs, samplers, checkpoints or files.

Each pair is compared by its difference of rates. Where samples are paired, sample i of every set
having come from the same noise, the difference is taken over pairs, which tells smaller ones apart;
taken as independent, such sets get an interval that is wider than it need be. Intervals are of the
runs at hand: of what other samples of theirs would give, not other trainings. All p-values of a
comparison are corrected together.

Sets that are judged by different grammars have grammatical rates of different rules, and sets that
show other pictures are not as easily legible: no difference of these is told.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffprobe.datasets import Grammar, SymbolImages
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import (
    Difference,
    Rate,
    difference,
    holm,
    paired_difference,
    told_p,
)
from diffprobe.foundations.tables import Table

RATES: dict[str, Callable[[Verdicts], Rate]] = {
    "legible": lambda verdicts: verdicts.legible_rate,
    "grammatical": lambda verdicts: verdicts.grammatical_rate,
}
DRAWN = 256  # words of each language that tell whether the other is the same


@dataclass(frozen=True, repr=False)
class Comparison(Table):
    """Rates of named sets of samples, and what tells them apart.

    Attributes:
        rates: Name of a set -> rate -> its value and interval. "grammatical" is among the legible.
        chance: Name of a set -> grammatical rate of independent symbols in its language.
        differences: Rate -> (first, second) -> first less second, of sets that can be compared. Of
            paired samples, the grammatical rates are compared where both are legible.
        corrected: Rate -> (first, second) -> p after Holm's correction over all in here.
        notes: What cannot be compared, and why, in sentences.
    """

    rates: dict[str, dict[str, Rate]]
    chance: dict[str, float]
    differences: dict[str, dict[tuple[str, str], Difference]]
    corrected: dict[str, dict[tuple[str, str], float]]
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return rates and differences, as JSON can hold them."""
        return {
            "notes": self.notes,
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

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each set and rate."""
        return [
            {
                "samples": name,
                "rate": rate,
                **found.rows()[0],
                "chance": self.chance[name] if rate == "grammatical" else None,
            }
            for name, rates in self.rates.items()
            for rate, found in rates.items()
        ]

    def lines(self) -> list[str]:
        """Return the rates and differences in words."""
        found = [*self.notes]
        for name, rates in self.rates.items():
            found.append(f"{name}: legible {rates['legible']}")
            found.append(
                f"{name}: grammatical {rates['grammatical']}; chance {self.chance[name]:.1%}"
            )
        for rate, pairs in self.differences.items():
            for (first, second), each in pairs.items():
                p = self.corrected[rate][first, second]
                found.append(
                    f"{rate}, {first} less {second}: {each}; {_finding(p)}, corrected {told_p(p)}"
                )
        return found

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.rates)}>"


def compare(
    sets: Mapping[str, Verdicts],
    *,
    paired: bool = False,
    datasets: Mapping[str, SymbolImages] | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare the legible and the grammatical rates of named sets of samples, each with each.

    Args:
        sets: Name -> verdicts, at least two.
        paired: Whether sample i of every set came from the same noise.
        datasets: By what each set was judged. Without, other grammars are told by the number of
            cells, their kinds of violations and their chance rates alone.
        notes: More to say about them, in sentences.

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
    groups = {
        "legible": _groups(
            sets,
            lambda a, b: (
                sets[a].words.shape[1] == sets[b].words.shape[1]
                and (datasets is None or _same_pictures(datasets[a], datasets[b]))
            ),
        ),
        "grammatical": _groups(
            sets,
            lambda a, b: (
                _alike(sets[a], sets[b])
                and (datasets is None or _same_language(datasets[a].grammar, datasets[b].grammar))
            ),
        ),
    }
    differences = {
        rate: {
            (first, second): take(rate, sets[first], sets[second])
            for group in together
            for first, second in itertools.combinations(group, 2)
        }
        for rate, together in groups.items()
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
        notes=(*_apart(groups), *notes),
    )


def _groups(sets: Mapping[str, Verdicts], same: Callable[[str, str], bool]) -> list[list[str]]:
    """Put the names of sets together that are the same in some respect."""
    groups: list[list[str]] = []
    for name in sets:
        group = next((g for g in groups if same(g[0], name)), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return groups


def _alike(first: Verdicts, second: Verdicts) -> bool:
    """Whether as many cells were judged by as strict a grammar, as far as verdicts tell."""
    return (
        first.words.shape[1] == second.words.shape[1]
        and first.violations.keys() == second.violations.keys()
        and math.isclose(first.uniform_rate, second.uniform_rate)
        and math.isclose(first.product_rate, second.product_rate)
    )


def _same_language(first: Grammar, second: Grammar) -> bool:
    """Whether what is drawn of each of two grammars belongs to the other, equally likely."""
    if (first.length, first.symbols) != (second.length, second.symbols):
        return False
    for one, other in ((first, second), (second, first)):
        if not one.contains(other.sample(DRAWN, generator(0, "same language"))).all():
            return False
    return torch.allclose(first.symbol_marginals(), second.symbol_marginals())


def _same_pictures(first: SymbolImages, second: SymbolImages) -> bool:
    return first.grid == second.grid and torch.equal(first.glyphs.images, second.glyphs.images)


def _apart(groups: Mapping[str, list[list[str]]]) -> list[str]:
    """Say which columns cannot be compared between which sets."""
    columns = {"legible": "Legible", "grammatical": "Grammatical and chance"}
    why = {"legible": "show different pictures", "grammatical": "are judged by different grammars"}
    return [
        f"{columns[rate]} cannot be compared across "
        f"{' | '.join(', '.join(group) for group in each)}, which {why[rate]}."
        for rate, each in groups.items()
        if len(each) > 1
    ]


def _independent(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    return difference(RATES[rate](first), RATES[rate](second))


def _paired(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    if rate == "legible":
        return paired_difference(first.legible, second.legible)
    both = first.legible & second.legible
    return paired_difference(first.grammatical[both], second.grammatical[both])


def _finding(p: float) -> str:
    return "they differ" if p < 0.05 else "not told apart"
