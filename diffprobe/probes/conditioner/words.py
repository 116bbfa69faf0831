"""Who listens to the condition, in numbers and words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION
from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.conditioner.listening import Listening


def beside_the_optimum(results: Mapping[str, Listening]) -> dict[str, Listening]:
    """Return the measurements of replaced tokens over the inputs at which Bayes listens to any."""
    optimum = results.get("bayes-replaced")
    if optimum is None:
        return dict(results)
    told = optimum.ratios[1].isfinite()
    return {k: r.among(told) if r.kind == "replaced" else r for k, r in results.items()}


def summary(results: Mapping[str, Listening]) -> dict[str, Any]:
    """Return the share of the own token and the tokens listened to, by kind and denoiser."""
    results = beside_the_optimum(results)
    shares: dict[str, dict[str, Any]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for part, result in results.items():
        who = part.partition("-")[0]
        counts.setdefault(result.kind, {})[who] = estimate(result.tokens_in_effect)
        if result.of_cells:
            shares.setdefault(result.kind, {})[who] = estimate(result.local_share)
    network, optimum = results["network-replaced"], results.get("bayes-replaced")
    excess = None
    if optimum is not None and "replaced" in shares:
        gap = network.ratios[0] - optimum.ratios[0]
        excess = estimate(intervals.mean(gap, network.sources, resolution=RESOLUTION))
    return {
        "t": network.t,
        "log_snr": network.log_snr,
        "images": network.settings["images"],
        "tokens": network.tokens,
        "local_share": shares,
        "excess": excess,
        "tokens_in_effect": counts,
    }


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the headline in words."""
    at = f"log-SNR {summary['log_snr']:z.2f}, t = {summary['t']}"
    found = []
    if summary["local_share"]:
        found.append(f"conditioner: share of the own token in what regions listen to ({at})")
        found += _by_kind(summary["local_share"])
    if summary["excess"] is not None:
        found.append(f"  excess      {interval(summary['excess'])} over Bayes, tokens replaced")
    of = len(summary["tokens"])
    found.append(f"conditioner: tokens that a region listens to, in effect, of {of} ({at})")
    return [*found, *_by_kind(summary["tokens_in_effect"])]


def _by_kind(content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"  {kind:11} " + ", ".join(f"{who} {interval(e)}" for who, e in by.items())
        for kind, by in content.items()
    ]
