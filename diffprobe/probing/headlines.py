"""Headline numbers wherever a summary holds them: estimates, rates and areas with their errors."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from diffprobe.foundations.figures import LABELS
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.ranks import Auroc
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.statistics import Rate

# Of an estimate, in a row.
TOLD = ("value", "standard_error", "low", "high", "n", "chance")


def numbers_with_errors(result: Any) -> dict[str, Any]:
    """Return field -> estimate, of the fields of a dataclass that are one number with its error."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Interval) and value.value.ndim == 0:
            found[field.name] = estimate(value)
        elif isinstance(value, Rate | Auroc):
            found[field.name] = value
    return found


def in_words(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each part of a summary that `numbers_with_errors` made.

    >>> in_words({"network": {"gain": {"value": 0.5, "low": 0.48, "high": 0.52}}})
    ['  network     gain 0.500 ± 0.020']
    """

    def told(value: Any) -> str:
        return interval(value) if isinstance(value, Mapping) else str(value)

    return [
        f"  {part:11} " + ", ".join(f"{k.replace('_', ' ')} {told(v)}" for k, v in numbers.items())
        for part, numbers in summary.items()
    ]


def rows_of(content: Any, path: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield a row for each estimate, rate or area that a summary holds: where, and what is told.

    >>> list(rows_of({"levels": [{"ldr": {"value": 0.5, "low": 0.4, "high": 0.6}}]}))
    [{'number': 'levels 0 ldr', 'value': 0.5, 'low': 0.4, 'high': 0.6}]
    """
    if isinstance(content, Rate | Auroc):
        content = content.rows()[0]
    if isinstance(content, Mapping) and set(content) >= {"value", "low", "high"}:
        told = {key: _finite_or_none(content[key]) for key in TOLD if key in content}
        yield {"number": " ".join(path), **told}
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from rows_of(value, (*path, str(key)))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from rows_of(value, (*path, str(index)))


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def network_estimates(
    content: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], float, float, float]]:
    """Yield name, value and 95 % interval of each estimate, rate or area that is not an oracle's.

    >>> list(network_estimates({"gain": {"network": {"value": 1.0, "low": 0.5, "high": 2.0}}}))
    [(('gain',), 1.0, 0.5, 2.0)]
    """
    if isinstance(content, Rate | Auroc):
        if content.value is not None:
            yield path, content.value, content.low, content.high
    elif isinstance(content, Mapping):
        if set(content) >= {"value", "low", "high"}:
            value, low, high = (content[key] for key in ("value", "low", "high"))
            if math.isfinite(value):
                yield path, value, *((low, high) if math.isfinite(low) else (value, value))
            return
        for key, value in content.items():
            if key not in LABELS:
                more = () if key == "network" else (str(key).replace("_", " "),)
                yield from network_estimates(value, (*path, *more))
