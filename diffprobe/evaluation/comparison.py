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
from diffprobe.evaluation.validator import Checked
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
    wilson,
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
        rates: Name of a set -> rate -> its value and interval: "legible", and "grammatical" among
            these; or "any" and the kinds of violations that a validator found.
        chance: Name of a set -> grammatical rate of independent symbols in its language; nothing
            where a validator judged.
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
                {"name": name, **rates, "chance": self.chance.get(name)}
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
            for rate, value in rates.items():
                chance = f"; chance {self.chance[name]:.1%}" if rate == "grammatical" else ""
                found.append(f"{name}: {rate} {value}{chance}")
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
    _check_sizes({name: len(verdicts.words) for name, verdicts in sets.items()}, paired)
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
    return Comparison(
        rates={
            name: {rate: of(verdicts) for rate, of in RATES.items()}
            for name, verdicts in sets.items()
        },
        chance={name: verdicts.product_rate for name, verdicts in sets.items()},
        differences=differences,
        corrected=_corrected(differences),
        notes=(*_apart(groups), *notes),
    )


def compare_checked(
    sets: Mapping[str, Checked], *, paired: bool = False, notes: Sequence[str] = ()
) -> Comparison:
    """Compare what one validator found in named sets of samples, each with each.

    Args:
        sets: Name -> finding, at least two.
        paired: Whether sample i of every set came from the same noise; those count that the
            validator was shown of both.
        notes: More to say about them, in sentences.

    Raises:
        UsageError: If there are fewer than two sets, or paired ones differ in size.
    """
    _check_sizes({name: len(found.asked) for name, found in sets.items()}, paired)
    kinds = dict.fromkeys(kind for found in sets.values() for kind in found.kinds)
    wrong = {
        name: {
            "any": found.wrong,
            **{kind: found.kinds.get(kind, torch.zeros_like(found.asked)) for kind in kinds},
        }
        for name, found in sets.items()
    }
    rates = {
        name: {
            rate: wilson(int(each.sum()), int(sets[name].asked.sum()))
            for rate, each in found.items()
        }
        for name, found in wrong.items()
    }

    def between(rate: str, first: str, second: str) -> Difference:
        if not paired:
            return difference(rates[first][rate], rates[second][rate])
        both = sets[first].asked & sets[second].asked
        return paired_difference(wrong[first][rate][both], wrong[second][rate][both])

    differences = {
        rate: {pair: between(rate, *pair) for pair in itertools.combinations(sets, 2)}
        for rate in ("any", *kinds)
    }
    return Comparison(rates, {}, differences, _corrected(differences), tuple(notes))


def _check_sizes(sizes: Mapping[str, int], paired: bool) -> None:
    if len(sizes) < 2:
        raise UsageError("a comparison needs two sets of samples or more")
    if paired and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size:,}" for name, size in sizes.items())
        raise UsageError(f"paired sets have as many samples each, but {listed}")


def _corrected(
    differences: Mapping[str, Mapping[tuple[str, str], Difference]],
) -> dict[str, dict[tuple[str, str], float]]:
    """Correct all p-values together, by Holm."""
    keys = [(rate, pair) for rate, pairs in differences.items() for pair in pairs]
    found: dict[str, dict[tuple[str, str], float]] = {rate: {} for rate in differences}
    for (rate, pair), p in zip(keys, holm([differences[r][k].p for r, k in keys]), strict=True):
        found[rate][pair] = p
    return found


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
    ours, theirs = first.plain.glyphs.images, second.plain.glyphs.images
    return first.grid == second.grid and torch.equal(ours, theirs)


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
