"""Several sets of samples side by side: runs, samplers, checkpoints or files.

Each pair is compared by its difference of rates. Where samples are paired, sample i of every set
having come from the same noise, the difference is taken over pairs, which tells smaller ones apart;
taken as independent, such sets get an interval that is wider than it need be. Intervals are of the
runs at hand: of what other samples of theirs would give, not other trainings. All p-values of a
comparison are corrected together.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import Difference, Rate, difference, holm, paired_difference
from diffprobe.foundations.tables import Table

RATES: dict[str, Callable[[Verdicts], Rate]] = {
    "legible": lambda verdicts: verdicts.legible_rate,
    "grammatical": lambda verdicts: verdicts.grammatical_rate,
}


@dataclass(frozen=True, repr=False)
class Comparison(Table):
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

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.rates)}>"


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


def _independent(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    return difference(RATES[rate](first), RATES[rate](second))


def _paired(rate: str, first: Verdicts, second: Verdicts) -> Difference:
    if rate == "legible":
        return paired_difference(first.legible, second.legible)
    both = first.legible & second.legible
    return paired_difference(first.grammatical[both], second.grammatical[both])


def _finding(p: float) -> str:
    return "they differ" if p < 0.05 else "not told apart"
