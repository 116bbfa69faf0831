"""Any probe's headline numbers along training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffprobe.foundations.figures import LABELS, figure
from diffprobe.foundations.ranks import Auroc
from diffprobe.foundations.statistics import Rate


def draw_trends(moments: Sequence[Mapping[str, Any]], path: Path, name: str) -> None:
    """Draw every estimate of the network in a probe's summaries against training step.

    Of a probe that goes over noise levels, the excess LDR over step and level.

    Args:
        moments: Summaries, each with its "step".
        path: Of the figure, without an ending.
        name: What the figure is called.
    """
    if "levels" in moments[0]:
        _draw_levels(moments, path)
        return
    # A panel for each quantity: shares, correlations and nats do not go on one axis.
    panels: dict[str, dict[str, list[tuple[int, float, float, float]]]] = {}
    for moment in moments:
        for parts, value, low, high in network_estimates(moment):
            panel = panels.setdefault(parts[0], {})
            label = ", ".join(parts[1:]) or "network"
            panel.setdefault(label, []).append((moment["step"], value, low, high))
    with figure(path, 6.5, 0.6 + 2.2 * len(panels)) as canvas:
        axes = canvas.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (title, curves) in zip(axes, panels.items(), strict=True):
            for label, points in curves.items():
                steps, values, lows, highs = zip(*points, strict=True)
                below = [max(0.0, v - low) for v, low in zip(values, lows, strict=True)]
                above = [max(0.0, high - v) for v, high in zip(values, highs, strict=True)]
                ax.errorbar(steps, values, [below, above], marker="o", ms=3, capsize=2, label=label)
            ax.set(xscale="log", ylabel=title)
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes[0].set_title(f"{name} along training")
        axes[-1].set_xlabel("training step")


def _draw_levels(moments: Sequence[Mapping[str, Any]], path: Path) -> None:
    known = moments[0]["levels"][0]["excess_ldr"] is not None
    rows = [
        [(row["excess_ldr"] if known else row["ldr"]["network"])["value"] for row in m["levels"]]
        for m in moments
    ]
    log_snr = [row["log_snr"] for row in moments[0]["levels"]]
    with figure(path, 6.0, 3.2) as canvas:
        ax = canvas.subplots()
        image = ax.pcolormesh(
            log_snr,
            range(len(rows)),
            np.array(rows, float),
            cmap="RdBu_r" if known else "viridis",
            vmin=-1 if known else 0,
            vmax=1,
            shading="nearest",
        )
        ax.set(
            xlabel="log-SNR (nats); white: the output depends on nothing" if known else "log-SNR",
            ylabel="training step",
            yticks=range(len(rows)),
            yticklabels=[f"{m['step']:,}" for m in moments],
        )
        canvas.colorbar(image, ax=ax, label="excess LDR over Bayes" if known else "LDR")


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
