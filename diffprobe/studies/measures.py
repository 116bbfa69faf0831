"""Measures: the numbers that a study asks of each run, by name.

loss                    validation loss of the weights that are sampled
legible, grammatical    shares of the samples; grammatical of the legible ones
ldr, excess_ldr         at the noise level where the grammar is worth most, or at another one:
                        excess_ldr@-2 is that nearest to log-SNR -2
gamma, mu, unexplained, missed_nats, missed_along_nats, to_product_nats, scale
                        over all noise levels, or at one: gamma@0
PROBE.NUMBER            any number in the summary of a probe: spectrum.network.asymmetry
samples.NUMBER          any number that a report has of them: samples.verdicts.valid-memorised,
                        samples.distribution.effective_words; or what each took: samples.evaluations
grammar.entropy, grammar.total_correlation, grammar.neighbour_nats
                        of the grammar, exactly
parameters, work        of the network; and times the images that it is trained on
conditional-information.information.1@0
                        at a noise level and radius; likewise missed.1, distance.1, missed_network
COMPUTATION.NUMBER      what a question computes instead of training it
excess_ldr@all          at all noise levels, to be drawn against "log_snr"; no claim is about it
first_step(gamma > 0.5) log10 of the training step at which a measure along training first passes a
                        number, on the line between two checkpoints in log(step); one that has
                        passed it at the first checkpoint counts as there, and where none does it
                        is that of the last, which is a bound ("never")
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name

PLACEMENT = (
    "gamma",
    "mu",
    "scale",
    "unexplained",
    "missed_nats",
    "missed_along_nats",
    "to_product_nats",
)
GRAMMAR = ("grammar.entropy", "grammar.total_correlation", "grammar.neighbour_nats")
# Name -> what measures it, and where in its summary it stands.
SHORT = {
    "loss": ("training", "loss"),
    "legible": ("samples", "legible"),
    "grammatical": ("samples", "grammatical"),
    "ldr": ("locality", "ldr.network"),
    "excess_ldr": ("locality", "excess_ldr"),
    **{name: ("placement", name) for name in PLACEMENT},
    "parameters": ("network", "parameters"),
    "work": ("network", "work"),
    **{name: tuple(name.split(".")) for name in GRAMMAR},
}
# What cannot lie outside 0 to 1, nor its interval.
SHARES = (
    "legible",
    "grammatical",
    "ldr",
    "samples.recalled",
    "samples.valid",
    "samples.memorisation.recalled",
)
SHARES_OF = re.compile(r"samples\.verdicts\..*|detectors\..*\.auroc(\..*)?|samples\.violations\..*")
# What has a number for each noise level; and for each radius.
BY_LEVEL = ("ldr", "excess_ldr", "gamma", "mu", "conditional-information.missed_network")
BY_RADIUS = re.compile(r"conditional-information\.(information|missed|distance)\.\d+")
ALL = "all"
PASSES = re.compile(r"first_step\((.+?)\s*([<>])\s*([^<>]+)\)")


@dataclass(frozen=True)
class Measure:
    """A number that is asked of each run.

    Attributes:
        name: As it was asked for.
        by: "training", "network", "grammar", "samples", or a probe.
        path: Where in its summary it stands, keys joined by points.
        log_snr: The noise level asked for, if one is.
        at_all_levels: Whether it is asked for at all noise levels.
        passes: "<" or ">" and a number, where the step is asked for at which it passes that.
    """

    name: str
    by: str
    path: str
    log_snr: float | None = None
    at_all_levels: bool = False
    passes: tuple[str, float] | None = None

    @classmethod
    def parse(cls, text: str) -> "Measure":
        """Read a measure's name.

        Raises:
            UsageError: If there is no such measure, naming the nearest.
        """
        if passing := PASSES.fullmatch(text.strip()):
            return cls._first_step(text, *passing.groups())
        name, at, level = text.partition("@")
        name = name.strip().replace("-", "_") if "." not in name else name.strip()
        probes = [*kinds.names("probe"), *kinds.announced("computation")]
        by, point, path = name.partition(".")
        if name in SHORT:
            by, path = SHORT[name]
        elif by == "grammar":
            raise unknown_name("measure", text, GRAMMAR)
        elif not point or by not in (*probes, "samples"):
            raise unknown_name("measure", text, [*SHORT, *(f"{probe}.…" for probe in probes)])
        elif not path:
            raise UsageError(f"the measure {text!r} names no number of {by}: {by}.NUMBER")
        if not at:
            return cls(text, by, path)
        if name not in BY_LEVEL and not BY_RADIUS.fullmatch(name):
            raise UsageError(f"{text!r}: {name} has no noise level; {', '.join(BY_LEVEL)} have")
        if level == ALL:
            return cls(text, by, path, at_all_levels=True)
        try:
            return cls(text, by, path, float(level))
        except ValueError:
            raise UsageError(f"{text!r}: {level!r} is no log-SNR, nor 'all'") from None

    @classmethod
    def _first_step(cls, text: str, name: str, side: str, number: str) -> "Measure":
        asked = cls.parse(name)
        if asked.at_all_levels or asked.passes or asked.by in ("network", "grammar"):
            raise UsageError(f"{text!r}: {name} is no single number along training")
        try:
            return replace(asked, name=text, passes=(side, float(number)))
        except ValueError:
            raise UsageError(f"{text!r}: {number!r} is no number") from None

    @staticmethod
    def is_never(row: Mapping[str, Any]) -> bool:
        """Whether a row tells a step that is a bound: what was to pass did not."""
        return row["n"] == 0 and PASSES.fullmatch(row["measure"].strip()) is not None

    @property
    def is_exact(self) -> bool:
        """Whether it is the same for all seeds: of the grammar, or the network's size."""
        return self.by in ("network", "grammar")

    @staticmethod
    def is_share(name: str) -> bool:
        """Whether a measure lies between 0 and 1."""
        name = name.partition("@")[0]
        return name.replace("-", "_") in SHARES or SHARES_OF.fullmatch(name) is not None

    @staticmethod
    def one_of(name: str, measures: Sequence[str], where: str) -> None:
        """Raise UsageError unless `name` is among a grid's measures.

        Raises:
            UsageError: If it is not.
        """
        if name not in measures:
            raise UsageError(f"{where}: {unknown_name('measure', name, measures)}")


def first_step(
    curve: Sequence[tuple[int, float | None]], side: str, number: float
) -> dict[str, Any]:
    """Return the log10 of the step at which a curve first passes a number.

    Args:
        curve: Steps, ascending, and values.
        side: ">" from below, "<" from above.
        number: What is passed.

    Returns:
        "value", as the straight line in log(step) from the checkpoint before has it; "low" and
        "high", the two checkpoints; "n", 1, or 0 where it never passes and that of the last step
        is a bound.

    >>> round(first_step([(10, 0.0), (100, 0.25), (1000, 0.75)], ">", 0.5)["value"], 3)
    2.5
    """
    sign = 1 if side == ">" else -1
    known = [(math.log10(max(step, 1)), sign * (v - number)) for step, v in curve if v is not None]
    row: dict[str, Any] = {"value": None, "standard_error": None, "low": None, "high": None, "n": 0}
    before: tuple[float, float] | None = None
    for at, above in known:
        if above > 0:
            if before is None:
                return {**row, "value": at, "n": 1}
            value = before[0] + (at - before[0]) * -before[1] / (above - before[1])
            return {**row, "value": value, "low": before[0], "high": at, "n": 1}
        before = at, above
    return {**row, "value": before[0] if before else None}


def find(content: Any, path: str, what: str) -> dict[str, Any]:
    """Return the number that stands at a path of a summary: value, standard error, interval, n.

    Args:
        content: In terms of JSON; what is null there has no numbers, and so is what lies below it.
        path: Keys, joined by points.
        what: Whose summary it is, for the message.

    Raises:
        UsageError: If there is none, naming the nearest.

    >>> find({"gain": {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9}}, "gain", "probe")["high"]
    1.5
    """
    for name, number in _numbers(content):
        if name == path or (number["value"] is None and path.startswith(f"{name}.")):
            return number
    raise unknown_name(f"number of {what}", path, [name for name, _ in _numbers(content)])


def _numbers(content: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(content, Mapping) and {"value", "low", "high"} <= content.keys():
        told = ("value", "standard_error", "low", "high", "n")
        yield path, {key: content.get(key) for key in told}
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from _numbers(value, f"{path}.{i}" if path else str(i))
    elif content is None and path:
        yield path, dict.fromkeys(("value", "standard_error", "low", "high", "n"))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield path, {"value": float(content), **dict.fromkeys(("standard_error", "low", "high"))}
