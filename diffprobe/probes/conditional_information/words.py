"""Conditional information in words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.records import interval


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the windows of noise, and the radius of the nearest local optimum."""
    found = ["what far cells tell of a cell beyond the near ones, in nats, and where"]
    found += [
        f"  radius {radius}      {interval(row['highest'])} at log-SNR {row['at_log_snr']:z.1f}; "
        f"above half of it {_between(*row['window'])}; at least noise {interval(row['clean'])}"
        for radius, row in summary["by_radius"].items()
    ]
    nearest = summary["nearest"]
    names = {f"radius {r}": e for r, e in nearest["distance"].items()} | {"Bayes": nearest["bayes"]}
    own = "Bayes" if nearest["radius"] is None else f"radius {nearest['radius']}"
    found.append(
        f"  nearest to {own} at log-SNR {nearest['log_snr']:z.1f}, nats per unit log-SNR from: "
        + ", ".join(f"{name} {interval(e)}" for name, e in names.items())
    )
    return found


def _between(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "at every noise level"
    if high is None:
        return f"from {low:.1f} on, as far as noise levels go"
    if low is None:
        return f"up to {high:.1f}"
    return f"from {low:.1f} to {high:.1f}"
