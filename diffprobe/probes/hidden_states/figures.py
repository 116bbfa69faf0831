"""Figures of hidden states: accuracies of layers over noise levels, beside the controls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.probes.hidden_states.answering import (
    CHANCE,
    OUTPUT,
    PIXELS,
    QUESTIONS,
    HiddenStates,
)


def draw(results: Mapping[str, HiddenStates], folder: Path) -> None:
    """Draw the accuracies of the questions that can be asked side by side."""
    asked = [result for result in results.values() if not result.lacking]
    if not asked:
        return
    with figure(folder / "hidden-states", 3.0 + 2.25 * len(asked), 4.2) as canvas:
        panels = canvas.subplots(1, len(asked), sharey=True, squeeze=False)[0]
        for ax, result in zip(panels, asked, strict=True):
            plot(result, ax)
            ax.label_outer()
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=4)


def plot(result: HiddenStates, ax: Axes) -> Axes:
    """Draw accuracy on unseen words at each level, early layers to late, and what it is beside.

    The grey band reaches from the least to the most of the untrained networks; the two marks at the
    level of the verdict are the probe of words seen before, and of random labels of them.
    """
    places = torch.arange(len(result.t), dtype=torch.float64)
    depths = len(result.layers) - 2
    shades = mpl.colormaps["viridis"]
    if len(result.untrained_layers) and result.untrained.value.isfinite().any():
        low, high = result.untrained_each.value.aminmax(dim=0)
        # Where all networks agree the band has no height, and its middle is seen.
        label = f"untrained, {len(result.untrained_layers)} seeds"
        ax.fill_between(places, low, high, color="0.8", lw=0, label=label, zorder=0)
        ax.plot(places, result.untrained.value, color="0.7", lw=1, zorder=0)
    for row, name in enumerate(result.layers):
        if name == PIXELS:
            style: dict[str, Any] = {"color": "0.5", "ls": "--", "label": "noisy pixels"}
        elif name == OUTPUT:
            style = {"color": COLORS["invalid"], "ls": "--", "label": "output x0_hat"}
        else:
            style = {"color": shades(0.2 + 0.75 * (row - 1) / max(depths - 1, 1)), "label": name}
        # Beside each other, so that intervals can be told apart.
        beside = places + 0.4 * (row / (len(result.layers) - 1) - 0.5)
        _points(ax, beside, result.accuracy[row], lw=1.2, **style)
    if result.optimum.value.isfinite().any():
        _points(ax, places, result.optimum, color=COLORS["bayes"], label="exact optimum")
    if result.lacking:
        ax.text(0.5, 0.6, "undefined: too few words", ha="center", transform=ax.transAxes)
    else:
        place = places[[result.best[1]]] + 0.33
        # Empty, so that they are not taken for the layers' own.
        marks: dict[str, Any] = {"color": COLORS["empirical"], "ls": "", "mfc": "white"}
        _points(ax, place, result.shared[None], **marks | {"marker": "s"}, label="words seen")
        _points(ax, place, result.control[None], **marks | {"marker": "D"}, label="random labels")
    ax.axhline(CHANCE, color="0.3", ls=":", lw=1, label="one half")
    ax.set_xticks(places.tolist(), [f"{s:z.1f}".replace("-", "−") for s in result.log_snr.tolist()])
    ax.set(
        xlabel="log-SNR (nats)",
        ylabel="accuracy on unseen words",
        title=f"{QUESTIONS[result.question]}\n({result.images:,} images of {result.words:,} words)",
    )
    return ax


def _points(ax: Axes, places: Tensor, found: Interval, **style: Any) -> None:
    error = torch.stack([found.value - found.low, found.high - found.value]).clamp(min=0)
    ax.errorbar(
        places.numpy(), found.value.numpy(), yerr=error.numpy(), **{"marker": "o", "ms": 3, **style}
    )
