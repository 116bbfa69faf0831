"""Figures of the spectrum: singular values, and vectors as pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from diffprobe.foundations.figures import LABELS, at_level, color_of, figure
from diffprobe.foundations.marks import mark_coincident
from diffprobe.probes.spectrum.singular_values import Spectrum

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Spectrum], subject: "Subject", folder: Path) -> None:
    """Singular values of all, and the leading vectors of one input as pictures."""
    with figure(folder / "spectrum", 5.0, 3.2) as canvas:
        ax = canvas.subplots()
        for name, result in results.items():
            plot(
                result,
                ax,
                label=LABELS.get(name, subject.architecture),
                color=color_of(subject.architecture if name == "network" else name),
            )
        mark_coincident(ax)
        band = Patch(color="0.8", label="least to greatest of the inputs")
        ax.legend(handles=[*ax.get_legend_handles_labels()[0], band])
    _draw_vectors(results, subject, folder)


def plot(result: Spectrum, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw the singular values, mean over inputs with a band from the least to the greatest."""
    rank = torch.arange(1, result.values.shape[1] + 1).numpy()
    (line,) = ax.plot(
        rank, result.values.mean(0).numpy(), marker="o", markersize=3, label=label, **style
    )
    low, high = result.values.amin(0).numpy(), result.values.amax(0).numpy()
    ax.fill_between(rank, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(
        xlabel="rank",
        ylabel="singular value of ∂x0_hat/∂x_t",
        title=at_level(result.log_snr),
    )
    ax.locator_params(axis="x", integer=True)
    ax.set_ylim(bottom=0, auto=True)  # else the next denoiser's values are cut off
    return ax


def _draw_vectors(results: Mapping[str, Spectrum], subject: "Subject", folder: Path) -> None:
    """The leading vectors of the input on which most is still undecided."""
    undecided = results.get("bayes", results["network"])
    index = int(undecided.energy.argmax())
    _, k, _, height, width = results["network"].inputs.shape
    wide = width > 2 * height
    shown = min(2 if wide else 4, k)
    rows, columns = (2 * shown, len(results)) if wide else (2 * len(results), shown)
    inches = min(9.0, 7.0 / columns * rows * height / width + 0.3 * rows)
    with figure(folder / "spectrum-vectors", 7.0, inches) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False)
        for place, (name, result) in enumerate(results.items()):
            who = LABELS.get(name, subject.architecture)
            for rank in range(shown):
                for below, (side, vectors) in enumerate(
                    (("listens to", result.inputs), ("changes", result.outputs))
                ):
                    row, column = (2 * rank + below, place) if wide else (2 * place + below, rank)
                    ax = axes[row][column]
                    picture = vectors[index, rank].mean(0)
                    limit = picture.abs().max().item() or 1.0
                    ax.imshow(picture.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
                    ax.set(xticks=[], yticks=[])
                    ax.spines[:].set_visible(False)
                    value = result.values[index, rank].item()
                    ax.set_title(f"{who}\n{side}, s = {value:.2f}", fontsize=7)
