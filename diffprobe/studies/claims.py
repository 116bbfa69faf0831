"""Claims: what is expected of a grid, written down before its numbers.

A claim names an estimate and the side of a threshold on which it is expected:

    above, below   the mean of the measure over the place that `where` names
    between        the first value of a setting less the second, `expect` greater or less; of
                   several settings hand in hand; or of two measures of one run, the first less the
                   second; with `across`, that difference at the first value of another setting
                   less the same at the second
    trend          the rise of the measure over the values of the setting `against`, in their order,
                   along the straight line of least squares, increasing or decreasing; with
                   `slope`, how much it rises over a decade of `against`

With `crosses` the measure is in all of them the place along a setting at which it first exceeds a
number, in log10 of the setting; or how far it lies beyond the place of another (`crossings`).

Each is taken seed by seed, what `where` leaves open averaged, and then over seeds (`seeds`); what
becomes of it is told by its verdict (`verdicts`). The threshold of `between` and `trend` is 0, or
`margin` on the expected side: the smallest effect that is worth the name.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.studies.crossings import check_crosses, crossed, crossing_in_words, listed
from diffprobe.studies.measures import Measure
from diffprobe.studies.places import STEP, Places, check_place, check_value, plain_name
from diffprobe.studies.seeds import over_seeds, own_error
from diffprobe.studies.table import StudyTable

MEASURE = "measure"  # in `between`, for two of them


@dataclass(frozen=True)
class Claim:
    """A hypothesis about a grid; one of the four rules of this module.

    Attributes:
        text: In a sentence.
        measure: What it is about; `between` may name two instead.
        where: Setting -> value: where in the grid; the last step where none is given.
        between: Settings and two values of each, or two steps, or "measure" and two of them.
        across: Settings and two values of each: the difference of `between` at the first less that
            at the second.
        expect: On which side of nothing their difference is expected.
        trend: How the measure goes with `against`.
        against: A setting of numbers, or "step".
        slope: Whether the trend is told by decade of `against`.
        crosses: A setting and a number, or two.
        above, below: A threshold of the measure itself.
        margin: The smallest effect worth the name, 0 or more.
    """

    text: str
    measure: str = ""
    where: dict[str, Any] = field(default_factory=dict)
    between: dict[str, list[Any]] = field(default_factory=dict)
    across: dict[str, list[Any]] = field(default_factory=dict)
    expect: Literal["", "greater", "less"] = ""
    trend: Literal["", "increasing", "decreasing"] = ""
    against: str = ""
    slope: bool = False
    crosses: dict[str, Any] = field(default_factory=dict)
    above: float | None = None
    below: float | None = None
    margin: float = 0.0

    def check(self, at: str, measures: Sequence[str], known: Places) -> None:
        """Check that a grid can answer it.

        Args:
            at: Where the claim stands, for messages.
            measures: Of the grid.
            known: What is varied -> its values.

        Raises:
            UsageError: If it cannot.
        """
        if not self.text.strip():
            raise UsageError(f"{at}.text is empty: say what is claimed")
        if pair := self.between.get(MEASURE):
            if self.measure:
                raise UsageError(f"{at} has a measure, and `between` names two: one too many")
            if len(pair) != 2:
                raise UsageError(f"{at}.between must name two measures, not {pair!r}")
        for measure in pair or [self.measure]:
            Measure.one_of(measure, measures, f"{at}.measure")
            if Measure.parse(measure).at_all_levels:
                raise UsageError(f"{at}.measure: {measure} is no single number; it can be drawn")
        rules = {
            "above": self.above is not None,
            "below": self.below is not None,
            "between": bool(self.between),
            "trend": bool(self.trend),
        }
        if sum(rules.values()) != 1:
            given = " and ".join(name for name, is_given in rules.items() if is_given) or "none"
            raise UsageError(f"{at} needs one rule of {', '.join(rules)}, and has {given}")
        for name, value in self.where.items():
            check_value(name, value, known, f"{at}.where")
        if self.margin < 0:
            raise UsageError(f"{at}.margin must not be negative: {self.margin}")
        self._check_rule(at, known)
        over = {*self.between, *self.across, *([self.against] if self.trend else [])}
        if twice := {*self.where} & {*over, *self.crosses} or over & {*self.crosses}:
            raise UsageError(f"{at} fixes {sorted(twice)[0]}, which the rule goes over")
        if self.crosses and MEASURE in self.between:
            raise UsageError(f"{at}: `crosses` is of one measure, and `between` names two")
        check_crosses(self.crosses, known, at)

    def _check_rule(self, at: str, known: Places) -> None:
        if bool(self.between) != bool(self.expect):
            raise UsageError(f"{at}: `between` goes with expect = 'greater' or 'less'")
        if bool(self.trend) != bool(self.against):
            raise UsageError(f"{at}: `trend` goes with `against`, the setting that it is against")
        if self.across and (not self.between or MEASURE in {*self.between, *self.across}):
            raise UsageError(f"{at}: `across` compares the difference of settings in `between`")
        if MEASURE in self.between and len(self.between) > 1:
            raise UsageError(f"{at}.between takes two measures, or settings, not both")
        if twice := {*self.between} & {*self.across}:
            raise UsageError(f"{at}: {sorted(twice)[0]} is in `between` and in `across`")
        for rule, pairs in (("between", self.between), ("across", self.across)):
            for name, pair in pairs.items():
                if len(pair) != 2 or pair[0] == pair[1]:
                    raise UsageError(f"{at}.{rule} must name two different values, not {pair!r}")
                for value in pair if name != MEASURE else []:
                    check_value(name, value, known, f"{at}.{rule}")
        if self.trend:
            check_place(self.against, known, f"{at}.against")
            values = known[self.against]
            if values is not None and any(type(value) not in (int, float) for value in values):
                raise UsageError(f"{at}.against: the values of {self.against} are no numbers")
            if values is not None and len(values) < 2:
                raise UsageError(f"{at}.against: {self.against} has one value, and no trend")

            if self.slope and (values is None or min(values) <= 0):
                raise UsageError(f"{at}.slope: {self.against} must have positive values")
        elif self.slope:
            raise UsageError(f"{at}: `slope` goes with `trend`")

    @property
    def upward(self) -> bool:
        """Whether the estimate is expected above its threshold."""
        return self.expect == "greater" or self.trend == "increasing" or self.above is not None

    @property
    def bounds(self) -> str:
        """What is a bound where a measure does not get to a number."""
        return "thresholds" if self.crosses else "first steps"

    @property
    def threshold(self) -> float:
        """What the estimate is expected to lie above, or below."""
        if self.above is not None or self.below is not None:
            return float(self.above if self.above is not None else self.below or 0.0)
        return self.margin if self.upward else 0.0 - self.margin

    def rule(self) -> str:
        """Return in words which estimate is expected where.

        >>> Claim("x", "gamma", between={"network.width": [64, 16]}, expect="greater").rule()
        'gamma at network.width 64 less that at 16 > 0'
        >>> Claim("x", "loss", where={"step": 10}, below=0.5).rule()
        'loss at step 10 < 0.5'
        """
        place = ", ".join(f"{plain_name(name)} {value}" for name, value in self.where.items())
        at = f" at {place}" if place else ""
        side = ">" if self.upward else "<"
        measure = crossing_in_words(self.crosses, self.measure)
        if MEASURE in self.between:
            what = " less ".join(self.between[MEASURE]) + at
        elif self.between:
            first, second = (_told(self.between, i) for i in (0, 1))
            if len(self.between) == 1:
                second = str(next(iter(self.between.values()))[1])
            what = f"{measure}{at} at {first} less that at {second}"
            if self.across:
                first, second = (_told(self.across, i) for i in (0, 1))
                what = f"({what}) at {first} less the same at {second}"
        elif self.trend:
            rise = "slope" if self.slope else "rise"
            by = "a decade of" if self.slope else ""
            what = " ".join(f"{rise} of {measure}{at} over {by} {plain_name(self.against)}".split())
        else:
            what = f"{measure}{at}"
        return f"{what} {side} {self.threshold:g}"

    def estimate(self, table: StudyTable) -> Estimate:
        """Return the estimate over seeds; of none where no seed has all that it needs."""
        found = self._per_seed(table)
        level = not (self.between or self.trend or self.crosses)
        return over_seeds(
            [value for value, _ in found],
            [error for _, error in found],
            share=level and Measure.is_share(self.measure),
        )

    def is_exact(self, table: StudyTable) -> bool:
        """Whether no seed's number has an error, by what its own run tells, and all agree."""
        found = self._per_seed(table)
        return len(found) > 1 and all(each == (found[0][0], 0.0) for each in found)

    def _per_seed(self, table: StudyTable) -> list[tuple[float, float | None]]:
        """The estimate of each seed that has all that it needs, and its error."""
        if MEASURE in self.between:
            a, b = (table.by_seed(measure) for measure in self.between[MEASURE])
            each = [
                _contrast([(1, a[seed].at(self.where)), (-1, b[seed].at(self.where))])
                for seed in a
                if seed in b
            ]
        else:
            each = [self._one(rows) for rows in self._by_seed(table, self.measure).values()]
        return [number for number in each if number is not None]

    def _by_seed(self, table: StudyTable, measure: str) -> dict[int, StudyTable]:
        found = table.by_seed(measure)
        for name, numbers in self.crosses.items():
            found = {seed: crossed(rows, name, listed(numbers)) for seed, rows in found.items()}
        return found

    def never(self, table: StudyTable) -> int:
        """Return how many places that go into it are bounds; see `Measure.is_never`, `crossed`."""
        measures = self.between.get(MEASURE, [self.measure])
        places = [{}] if MEASURE in self.between else [place for _, place in self._contrasted()]
        return sum(
            Measure.is_never(row) or (bool(self.crosses) and row["n"] == 0)
            for measure in measures
            for rows in self._by_seed(table, measure).values()
            for place in places
            for row in rows.at({**self.where, **place}).values()
        )

    def _one(self, rows: "StudyTable") -> tuple[float, float | None] | None:
        """The estimate of one seed, and its error."""
        if self.between:
            apart = (*self.between, *self.across)
            return _contrast(
                [
                    (sign, rows.at({**self.where, **place}, apart))
                    for sign, place in self._contrasted()
                ]
            )
        if self.trend:
            return self._rise(rows)
        terms = [(1.0, row) for row in rows.at(self.where).values()]
        return _mean(terms, len(terms), apart=True)

    def _contrasted(self) -> list[tuple[int, dict[str, Any]]]:
        """The places that are compared, and the sign of each; of none, the only one."""
        if not self.between:
            return [(1, {})]
        return [
            (
                (-1) ** (i + j),
                {name: pair[i] for name, pair in self.between.items()}
                | {name: pair[j] for name, pair in self.across.items()},
            )
            for j in range(2 if self.across else 1)
            for i in range(2)
        ]

    def _rise(self, rows: "StudyTable") -> tuple[float, float | None] | None:
        places = rows.steps() if self.against == STEP else rows.values(self.against)
        curves: dict[Any, list[tuple[float, dict[str, Any]]]] = {}
        for i, value in enumerate(places):
            x = math.log10(float(str(value))) if self.slope else float(i)
            for key, row in rows.at({**self.where, self.against: value}, [self.against]).items():
                curves.setdefault(key, []).append((x, row))
        terms: list[tuple[float, dict[str, Any]]] = []
        for points in curves.values():
            middle = sum(i for i, _ in points) / len(points)
            square = sum((i - middle) ** 2 for i, _ in points)
            if square:
                length = 1.0 if self.slope else points[-1][0] - points[0][0]
                terms += [(length * (i - middle) / square, row) for i, row in points]
            else:
                return None
        return _mean(terms, len(curves))


def changed(before: Mapping[str, Any], claim: Claim) -> bool:
    """Whether a claim is another than the one that was written down.

    What was not written down is at its default: a claim does not change with what claims can say.
    """
    return {**dataclasses.asdict(Claim("")), **before} != dataclasses.asdict(claim)


def _told(pairs: Mapping[str, Sequence[Any]], i: int) -> str:
    return ", ".join(f"{plain_name(name)} {pair[i]}" for name, pair in pairs.items())


def _contrast(
    signed: Sequence[tuple[int, Mapping[Any, Mapping[str, Any]]]],
) -> tuple[float, float | None] | None:
    """The mean of sums of rows with their signs, over what all places have in common."""
    both = set.intersection(*({*rows} for _, rows in signed))
    return _mean([(sign, rows[key]) for sign, rows in signed for key in both], len(both))


def _mean(
    terms: Sequence[tuple[float, Mapping[str, Any]]], n: int, *, apart: bool = False
) -> tuple[float, float | None] | None:
    """A weighted sum over rows by how many estimates went into it; its error if they lie apart.

    What is compared within a seed was measured with the same inputs, and the errors of the runs do
    not tell that of a difference.
    """
    if not terms or any(row["value"] is None for _, row in terms):
        return None
    value = sum(weight * row["value"] for weight, row in terms) / n
    errors = [own_error(row) for _, row in terms]
    known = [error**2 for error in errors if error is not None]
    return value, sum(known) ** 0.5 / n if apart and len(known) == len(errors) else None
