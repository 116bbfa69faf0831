"""Where along a setting a measure first passes a number: thresholds, and how sharp they are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diffprobe.foundations.errors import UsageError
from diffprobe.studies.places import Places, along_with, check_place, plain_name
from diffprobe.studies.table import StudyTable


def crossed(rows: StudyTable, name: str, numbers: Sequence[float]) -> StudyTable:
    """Return the table with the places along a setting at which a measure first exceeds a number.

    The place is the log10 of the setting's value, on the straight line in that between two values.
    What exceeds the number at the first value counts as there; where it never does the last value
    stands for it, a bound, and how far two places lie apart is not defined.

    Args:
        rows: Of one measure and seed.
        name: A setting of positive numbers; it varies no more in what is returned.
        numbers: One; or two, for how far the place of the second lies beyond that of the first.

    Returns:
        A row for each place left; its "n" is 1, or 0 where a bound went into it.
    """
    closed = along_with(name, rows.together)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows.content:
        left = [row[key] for key in rows.settings if key not in closed]
        groups.setdefault((*left, row["step"]), []).append(row)
    found = []
    for group in groups.values():
        curve = sorted((math.log10(float(row[name])), row["value"]) for row in group)
        places = [_first(curve, number) for number in numbers]
        nothing: dict[str, Any] = dict.fromkeys((*closed, "standard_error", "low", "high"))
        is_there = all(there for _, there in places)
        value: float | None = places[0][0]
        if len(places) > 1:
            value = places[1][0] - places[0][0] if is_there else None
        found.append({**group[0], **nothing, "value": value, "n": int(is_there)})
    return StudyTable(found, rows.settings, rows.together)


def check_crosses(crosses: Mapping[str, Any], known: Places, at: str) -> None:
    """Check that a grid has the setting of `Claim.crosses`.

    Raises:
        UsageError: If it has not, or numbers are none.
    """
    if len(crosses) > 1:
        raise UsageError(f"{at}.crosses takes one setting, not {', '.join(crosses)}")
    for name, numbers in crosses.items():
        check_place(name, known, f"{at}.crosses")
        values = known[name] or []
        if not values or any(type(v) not in (int, float) or v <= 0 for v in values):
            raise UsageError(f"{at}.crosses: the values of {name} are no positive numbers")
        pair = listed(numbers)
        if len(pair) not in (1, 2) or any(type(each) not in (int, float) for each in pair):
            raise UsageError(f"{at}.crosses: {name} takes a number or two, not {numbers!r}")


def crossing_in_words(crosses: Mapping[str, Any], measure: str) -> str:
    """Return what of a measure is looked at.

    >>> crossing_in_words({"label.share": 0.5}, "recall")
    'log10 of the share at recall 0.5'
    >>> crossing_in_words({"label.share": [0.25, 0.75]}, "recall")
    'decades of share from recall 0.25 to 0.75'
    """
    for name, numbers in crosses.items():
        first, *second = (f"{number:g}" for number in listed(numbers))
        if second:
            return f"decades of {plain_name(name)} from {measure} {first} to {second[0]}"
        return f"log10 of the {plain_name(name)} at {measure} {first}"
    return measure


def listed(numbers: Any) -> list[Any]:
    """Return a number, or several, as a list."""
    return numbers if isinstance(numbers, list) else [numbers]


def _first(curve: Sequence[tuple[float, float | None]], number: float) -> tuple[float, bool]:
    """Where a curve first exceeds a number, and whether it does.

    >>> _first([(-2.0, 0.0), (-1.0, 0.25), (0.0, 0.75)], 0.5)
    (-0.5, True)
    """
    before: tuple[float, float] | None = None
    for at, value in curve:
        if value is None:
            continue
        if value > number:
            if before is None:
                return at, True
            share = (number - before[1]) / (value - before[1])
            return before[0] + share * (at - before[0]), True
        before = at, value
    return curve[-1][0], False
