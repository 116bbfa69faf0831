"""Measures: the numbers that a study asks of each run, by name.

loss                    validation loss of the weights that are sampled
legible, grammatical    shares of the samples; grammatical of the legible ones
ldr, excess_ldr         at the noise level where the grammar is worth most, or at another one:
                        excess_ldr@-2 is that nearest to log-SNR -2
gamma, mu, unexplained, missed_nats, missed_along_nats, to_product_nats, scale
                        over all noise levels, or at one: gamma@0
PROBE.NUMBER            any number in the summary of a probe: spectrum.network.asymmetry
samples.NUMBER          any number of the verdicts: samples.verdicts.valid-memorised
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
# Name -> what measures it, and where in its summary it stands.
SHORT = {
    "loss": ("training", "loss"),
    "legible": ("samples", "legible"),
    "grammatical": ("samples", "grammatical"),
    "ldr": ("locality", "ldr.network"),
    "excess_ldr": ("locality", "excess_ldr"),
    **{name: ("placement", name) for name in PLACEMENT},
}
# What cannot lie outside 0 to 1, nor its interval.
SHARES = ("legible", "grammatical", "ldr")
# What has a number for each noise level.
BY_LEVEL = ("ldr", "excess_ldr", "gamma", "mu")


@dataclass(frozen=True)
class Measure:
    """A number that is asked of each run.

    Attributes:
        name: As it was asked for.
        by: "training", "samples", or a probe.
        path: Where in its summary it stands, keys joined by points.
        log_snr: The noise level asked for, if one is.
    """

    name: str
    by: str
    path: str
    log_snr: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Measure":
        """Read a measure's name.

        Raises:
            UsageError: If there is no such measure, naming the nearest.
        """
        name, at, level = text.partition("@")
        name = name.strip().replace("-", "_") if "." not in name else name.strip()
        probes = kinds.names("probe")
        by, point, path = name.partition(".")
        if name in SHORT:
            by, path = SHORT[name]
        elif not point or by not in (*probes, "samples"):
            raise unknown_name("measure", text, [*SHORT, *(f"{probe}.…" for probe in probes)])
        elif not path:
            raise UsageError(f"the measure {text!r} names no number of {by}: {by}.NUMBER")
        if not at:
            return cls(text, by, path)
        if name not in BY_LEVEL:
            raise UsageError(f"{text!r}: {name} has no noise level; {', '.join(BY_LEVEL)} have")
        try:
            return cls(text, by, path, float(level))
        except ValueError:
            raise UsageError(f"{text!r}: {level!r} is no log-SNR") from None

    @staticmethod
    def is_share(name: str) -> bool:
        """Whether a measure lies between 0 and 1."""
        return name.partition("@")[0].replace("-", "_") in SHARES

    @staticmethod
    def one_of(name: str, measures: Sequence[str], where: str) -> None:
        """Raise UsageError unless `name` is among a grid's measures.

        Raises:
            UsageError: If it is not.
        """
        if name not in measures:
            raise UsageError(f"{where}: {unknown_name('measure', name, measures)}")


def find(content: Any, path: str, what: str) -> dict[str, Any]:
    """Return the number that stands at a path of a summary: value, standard error, interval, n.

    Args:
        content: In terms of JSON.
        path: Keys, joined by points.
        what: Whose summary it is, for the message.

    Raises:
        UsageError: If there is none, naming the nearest.

    >>> find({"gain": {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9}}, "gain", "probe")["high"]
    1.5
    """
    for name, number in _numbers(content):
        if name == path:
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
