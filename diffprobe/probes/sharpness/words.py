"""Sharpness in numbers and words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.records import estimate
from diffprobe.probes.sharpness.traces import CLEAR, NUMBERS, Sharpness

SHOWN = 3  # layers


def summary(result: Sharpness) -> dict[str, Any]:
    """Return the traces and eigenvalues, overall, by noise level and by layer."""
    return {
        **{name: estimate(result.overall[name]) for name in NUMBERS},
        "eigenvalue": estimate(result.eigenvalues, 0),
        "eigenvalues": [estimate(result.eigenvalues, k) for k in range(len(result.eigenvalues.n))],
        "eigenvalue_residual": result.eigenvalue_residual.tolist(),
        "root_trace_resolved": result.resolved,
        "by_level": [
            {
                "t": int(result.t[i]),
                "log_snr": float(result.log_snr[i]),
                **{name: estimate(found, i) for name, found in result.by_level.items()},
                "eigenvalue": estimate(result.top_by_level, i),
            }
            for i in range(len(result.t))
        ],
        "by_layer": [
            {
                "layer": layer,
                **{name: estimate(found, i) for name, found in result.by_layer.items()},
                "eigenvector_share": float(result.eigenvector_shares[0, i]),
            }
            for i, layer in enumerate(result.layers)
        ],
        **result.settings,
    }


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return the summary in words."""
    values = ", ".join(told(each) for each in content["eigenvalues"])
    return [
        f"sharpness of the denoising loss in {content['weights']:,} weights, over all noise levels "
        f"(loss {told(content['loss'])})",
        f"  Hessian H              trace {told(content['trace'])}, tr(Diag(H)^½) {_root(content)}",
        f"  its Gauss–Newton part  trace {told(content['gauss_newton_trace'])}, tr(Diag(G)^½) "
        f"{told(content['gauss_newton_root_trace'])}",
        f"  largest eigenvalues    {values}; off by {max(content['eigenvalue_residual']):.2g} at "
        "the most",
        *_levels(content["by_level"]),
        *_layers(content["by_layer"]),
    ]


def told(number: Mapping[str, Any]) -> str:
    """Return a number of any size with half of its 95 % interval.

    >>> told({"value": 1234.5, "low": 1200.0, "high": 1269.0})
    '1.23e+03 ± 34'
    """
    value, low, high = (number[key] for key in ("value", "low", "high"))
    if value is None or value != value:
        return "undefined"
    if low is None or low != low:
        return f"{value:.3g} (no interval)"
    return f"{value:.3g} ± {(high - low) / 2:.2g}"


def _root(content: Mapping[str, Any]) -> str:
    number = content["root_trace"]
    if number["value"] is not None and number["value"] == number["value"]:
        return told(number)
    return (
        f"not told: {content['root_trace_resolved']:.0%} of it stands out of its noise by "
        f"{CLEAR:g} standard errors (more --n or --projections)"
    )


def _levels(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"  log-SNR {row['log_snr']:5.1f}          trace {told(row['trace'])}, tr(Diag(G)^½) "
        f"{told(row['gauss_newton_root_trace'])}, largest eigenvalue {told(row['eigenvalue'])}"
        for row in rows
    ]


def _layers(rows: list[dict[str, Any]]) -> list[str]:
    name = "gauss_newton_trace"
    whole = sum(row[name]["value"] for row in rows)
    if not whole > 0:
        return []
    most = sorted(rows, key=lambda row: -row[name]["value"])[:SHOWN]
    parts = ", ".join(f"{row['layer']} {row[name]['value'] / whole:.0%}" for row in most)
    return [f"  of tr(G) most lies in  {parts}"]
