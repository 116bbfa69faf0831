"""Locality in numbers and words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.locality.beside import beside_the_optimum
from diffprobe.probes.locality.ldr import Locality, excess

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def summary(results: Mapping[str, Locality]) -> dict[str, Any]:
    """Return LDR and excess LDR at every level, and the pooled ratios beside them."""
    results = beside_the_optimum(results)
    network, bayes = results["network"], results.get("bayes")
    gap = excess(network, bayes) if bayes is not None else None
    return {
        "variant": network.settings["variant"],
        "averaging": "the ratio of each input, mean over inputs",
        "output": network.settings["output"],
        "levels": [
            {
                "t": t,
                "log_snr": network.log_snr[i].item(),
                "inputs": int(network.inputs[i]),
                "ldr": {who: estimate(result.ldr, i) for who, result in results.items()},
                "excess_ldr": estimate(gap, i) if gap is not None else None,
                "pooled_ldr": {
                    who: {**estimate(r.pooled, i), "effective_inputs": r.effective[i].item()}
                    for who, r in results.items()
                },
            }
            for i, t in enumerate(network.t.tolist())
        ],
    }


def lines(content: Mapping[str, Any], subject: "Subject") -> list[str]:
    """Return LDR and excess where symbols form and at the subject's level, in words."""
    what = "the grammar is worth most" if subject.dataset else "the probes look"
    found = []
    for t, title in ((subject.forms_at, "symbols form"), (subject.level, what)):
        if t is None:
            continue
        level = next(row for row in content["levels"] if row["t"] == t)
        ldr = level["ldr"]
        n = f"n = {ldr['network']['n']}"
        if ldr["network"]["n"] < level["inputs"]:
            n += f" of {level['inputs']} inputs"
        oracles = ", ".join(f"{who} {interval(e)}" for who, e in ldr.items() if who != "network")
        found.append(f"where {title} (log-SNR {level['log_snr']:z.2f}, t = {t}, {n})")
        found.append(f"  LDR         {interval(ldr['network'])}; {oracles}".rstrip("; "))
        if level["excess_ldr"] is not None:
            found.append(f"  excess LDR  {interval(level['excess_ldr'])} over Bayes")
        else:
            found.append("  excess LDR  unknown: no grammar, so no optimum to compare with")
    return found
