"""Detectors in words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.ranks import Auroc
from diffprobe.foundations.statistics import told_p


def lines(network: Mapping[str, Any]) -> list[str]:
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
            f"  {name:31} {area}; {_finding(area, network['p_corrected'][name])}"
            for name, area in network["auroc"].items()
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
