"""Figures of sharpness: over the noise, and by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes

from diffprobe.foundations.figures import SERIES, color_of, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.probes.sharpness.traces import Sharpness

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject

MOST_LAYERS = 24  # more names than these cannot be read


def draw(result: Sharpness, subject: "Subject", folder: Path) -> None:
    """Three measures over the noise above, the shares of the layers below."""
    layers = min(len(result.layers), MOST_LAYERS)
    with figure(folder / "sharpness", 7.5, 3.2 + 0.2 * layers) as canvas:
        halves: Any = canvas.subfigures(2, 1, height_ratios=(2.4, 0.8 + 0.2 * layers))
        above, below = halves
        measures = {
            "tr(H)": result.by_level["trace"],
            "tr(Diag(G)$^{1/2}$)": result.by_level["gauss_newton_root_trace"],
            "largest eigenvalue of H": result.top_by_level,
        }
        color = color_of(subject.architecture)
        panels = above.subplots(1, 3)
        for ax, (title, found) in zip(panels, measures.items(), strict=True):
            plot(result, found, ax, color=color).set_title(title)
        part = result.by_level["gauss_newton_trace"].value
        panels[0].plot(result.log_snr, part, "--", color=color, alpha=0.6, label="tr(G)")
        panels[0].legend()
        plot_layers(result, below.subplots())


def plot(result: Sharpness, found: Interval, ax: Axes, **style: Any) -> Axes:
    """Draw a measure at each range of noise levels, with its 95 % interval."""
    value = found.value
    far = torch.stack([value - found.low, found.high - value]).nan_to_num().clamp(min=0)
    ax.errorbar(
        result.log_snr.numpy(), value.numpy(), far.numpy(), marker="o", ms=3, capsize=2, **style
    )
    ax.set(xlabel="log-SNR (nats)")
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    return ax


def plot_layers(result: Sharpness, ax: Axes) -> Axes:
    """Draw the shares of the layers in both traces of the Gauss–Newton part."""
    names = {
        "gauss_newton_trace": "tr(G)",
        "gauss_newton_root_trace": "tr(Diag(G)$^{1/2}$)",
    }
    whole = {name: result.by_layer[name].value for name in names}
    shown = whole["gauss_newton_root_trace"].argsort(descending=True)[:MOST_LAYERS].sort().values
    place = torch.arange(len(shown)).double()
    for i, (name, label) in enumerate(names.items()):
        share = whole[name] / whole[name].sum()
        at = (place + 0.4 * i - 0.2).numpy()
        ax.barh(at, share[shown].numpy(), height=0.38, color=SERIES[i], label=label)
    ax.set(xlabel="share of the layer", ylim=(len(shown) - 0.4, -0.6))
    ax.set_yticks(place.tolist(), [result.layers[int(i)] for i in shown], fontsize=7)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
