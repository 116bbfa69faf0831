"""What the probes found of a network, in plain sentences: whom it listens to, what it knows.

A sentence claims what the interval of its number allows, and no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.records import interval, read_record

Estimate = Mapping[str, Any]

LOCAL = 0.9  # an LDR from here on is local: all but a tenth of what is heard is the own cell
CLOSE = 0.05  # an excess that is known to be smaller is none worth a word
LITTLE = 0.1  # the same of gamma, from either end
# Settings that change how sure a number is, and not what it is of.
PRECISION = {"images", "levels", "precision", "precision_images"}


@dataclass(frozen=True)
class Story:
    """The headline numbers of locality and placement; None where they were not measured.

    Attributes:
        step: Training step that was probed; None where it is not known.
        log_snr: Noise level of LDR and excess.
        ldr, optimum, excess: Of the network, of the Bayes optimum, and their difference.
        no_locality: The LDR of an output that listens to all pixels alike.
        gamma: Share of the grammar used, over noise levels.
        undefined: Why gamma is defined nowhere; empty where it is.
    """

    step: int | None
    log_snr: float
    ldr: Estimate | None = None
    optimum: Estimate | None = None
    excess: Estimate | None = None
    no_locality: float | None = None
    gamma: Estimate | None = None
    undefined: str = ""

    def summary(self) -> dict[str, Any]:
        """Return the numbers, as JSON can hold them."""
        return dict(vars(self))

    def findings(self) -> list[str]:
        """Return what the numbers say, a sentence or two each."""
        listening = _listening(self) if self.ldr is not None else []
        return listening + (_knowing(self.gamma, self.undefined) if self.gamma is not None else [])


def read_story(probes: Path) -> Story | None:
    """Return what the last call of `diffprobe probe` left in a folder, whatever its precision.

    Returns:
        None where it told neither locality nor placement, or its record cannot be read.
    """
    try:
        summary = read_record(probes / "summary.json")
    except (UsageError, CheckpointError):
        return None  # to be measured again
    locality, placement = (_told(summary, name) for name in ("locality", "placement"))
    if locality is None and placement is None:
        return None
    rows = locality["levels"] if locality else []
    level = next((row for row in rows if row["t"] == summary["level"]["t"]), None)
    return Story(
        step=summary.get("step"),
        log_snr=summary["level"]["log_snr"],
        ldr=level["ldr"]["network"] if level else None,
        optimum=level["ldr"].get("bayes") if level else None,
        excess=level["excess_ldr"] if level else None,
        no_locality=summary["regions"]["no_locality"],
        gamma=placement["gamma"] if placement else None,
        undefined=placement["undefined"] if placement else "",
    )


def _told(summary: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What a probe told by the run's own settings, or by others that change its precision alone."""
    called = [
        key
        for key in summary["probes"]
        if key == name
        or (key.startswith(f"{name}_") and summary["settings"][key]["differs"].keys() <= PRECISION)
    ]
    return summary["probes"][called[-1]] if called else None


def _listening(story: Story) -> list[str]:
    """Whom a cell's output listens to, beside the optimum's."""
    ldr, optimum, excess = story.ldr, story.optimum, story.excess
    where = "at log-SNR " + f"{story.log_snr:z.1f}".replace("-", "−")
    if ldr is None or ldr["value"] is None:
        return [f"The network’s output depends on nothing {where}: there is no LDR."]
    own = f"{_percent(ldr)} of what its outputs depend on {where} is the same cell of the input"
    if excess is None or optimum is None or optimum["value"] is None:
        return [f"{own} (LDR {interval(ldr)}); whether that is too much no known optimum tells."]
    beside = f"{own}, where the optimum has {_percent(optimum)} (excess LDR {interval(excess)})"
    low, high = excess["low"], excess["high"]
    if low is None:
        return [
            f"Undecided whom the network listens to: {beside}; {excess['n']} inputs are too few "
            "for an interval."
        ]
    local, optimum_local = ((found["low"] or 0) >= LOCAL for found in (ldr, optimum))
    if local and optimum_local:
        return [
            f"The network listens only to itself, and so does the optimum: {beside}. At this "
            "noise level being local is no fault."
        ]
    if low > 0:
        how = "only to itself" if local else "to itself more than it should"
        return [f"The network listens {how}: {beside}."]
    if high < 0:
        return [
            f"The network listens to itself less than the optimum does: {beside}. It is not "
            "local; whether what it hears from other cells is the grammar, gamma says."
        ]
    if max(-low, high) <= CLOSE:
        return [f"The network listens to itself as much as the optimum does: {beside}."]
    return [
        f"Undecided whether the network listens to itself more than it should: {beside}; the "
        "interval holds 0. More inputs decide it (--precision)."
    ]


def _knowing(gamma: Estimate, undefined: str) -> list[str]:
    """How much of the grammar it uses."""
    if undefined:
        return [f"How much of the grammar it uses is not defined: {undefined}."]
    if gamma["value"] is None:
        return ["How much of the grammar it uses is not defined."]
    low, high = gamma["low"], gamma["high"]
    told = f"gamma {interval(gamma)}; 0 is local, 1 optimal"
    if low is None:
        return [f"Undecided how much of the grammar it uses ({told}): too few draws."]
    if high < 0:
        return [f"Its outputs lean against the grammar ({told})."]
    if low > 1:
        return [f"Its outputs lean on the grammar more than the optimum’s ({told})."]
    if low <= 0:
        if high <= LITTLE:
            return [f"It uses nothing of the grammar that could be told ({told})."]
        return [f"Undecided whether it uses the grammar ({told}): the interval holds 0."]
    if low >= 1 - LITTLE:
        return [f"It uses the grammar as the optimum does ({told})."]
    return [f"It uses {100 * gamma['value']:.0f} % of the grammar ({told})."]


def _percent(share: Estimate) -> str:
    value = min(1.0, share["value"])
    return f"{100 * value:.{1 if value > 0.99 else 0}f} %"
