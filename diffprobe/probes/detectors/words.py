"""Detectors, and samples by verdict, in words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.ranks import FEWEST, Auroc
from diffprobe.foundations.records import interval
from diffprobe.foundations.statistics import told_p
from diffprobe.probes.detectors.by_verdict import QUANTITIES
from diffprobe.probes.detectors.names import LABELS


def areas(network: Mapping[str, Any]) -> list[str]:
    """Return the network's AUROCs in words."""
    low, high = network["window"]
    chosen = "the default window"
    if not network["window_is_default"]:
        chosen = "not the default: one chosen by looking at these samples flatters itself"
    return [
        f"hallucinations among the legible of {network['samples']:,} samples: {network['invalid']}",
        f"trajectory variance over {low:g} to {high:g} of the path: {chosen}",
        "area under the ROC curve (chance 0.5), invalid against valid samples; "
        "p corrected for the number of detectors",
        *(
            f"  {LABELS[name]:31} {area}; {_finding(area, network['p_corrected'][name])}"
            for name, area in network["auroc"].items()
        ),
    ]


def by_verdict(network: Mapping[str, Any]) -> list[str]:
    """Return what the network's valid and invalid samples are, and the difference, in words."""
    invalid = network["invalid"]
    count = {"valid": invalid.n - invalid.count, "invalid": invalid.count}
    few = [f"{n:,} {verdict}" for verdict, n in count.items() if n < FEWEST]
    return [
        f"how valid and invalid samples were made; LDR at log-SNR {network['log_snr']:z.2f}"
        + (f" (no intervals: {' and '.join(few)}, of {FEWEST} needed)" if few else ""),
        *(
            f"  {label:26} {interval(network[name]['valid'])} valid, "
            f"{interval(network[name]['invalid'])} invalid: "
            f"difference {interval(network[name]['difference'])}"
            for name, label in QUANTITIES.items()
        ),
    ]


def _finding(area: Auroc, p: float) -> str:
    if area.value is None:
        return "too few to tell"
    if p >= 0.05:
        told = "not told from chance"
    else:
        told = "better than chance" if area.value > 0.5 else "points the wrong way"
    return f"{told}, {told_p(p)}"
