"""Figures of sensitivity: maps on a logarithmic scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from diffprobe.foundations.figures import LABELS, at_level, figure
from diffprobe.probes.sensitivity.maps import Sensitivity, beside_the_optimum

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Sensitivity], subject: "Subject", folder: Path) -> None:
    """Draw the maps on one scale."""
    results = beside_the_optimum(results)
    _, height, width = subject.images.image_shape
    rows, columns = (len(results), 1) if width > 2 * height else (1, len(results))
    inches = min(8.0, 6.0 / columns * rows * height / width + 0.45 * rows)
    largest = max(_top(r) for r in results.values())
    with figure(folder / "sensitivity", 7.0, inches) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for ax, (name, result) in zip(axes, results.items(), strict=True):
            plot(result, ax, largest=largest)
            ax.set_title(
                f"{LABELS.get(name, subject.architecture)}\n{result.local_share.value.item():.0%} "
                f"inside {subject.regions.names[result.region]}"
            )
        canvas.colorbar(
            axes[0].images[0], ax=axes, label="share of Σ (∂x0_hat/∂x_t)²", fraction=0.05
        )


def plot(result: Sensitivity, ax: Axes, *, largest: float | None = None) -> Axes:
    """Draw the map on a logarithmic scale of four decades, the region outlined.

    Args:
        largest: Upper end of the scale, to share it between maps.
    """
    top = largest or _top(result)
    ax.imshow(
        result.map.value.clamp(min=top * 1e-4).numpy(), cmap="magma", norm=LogNorm(top * 1e-4, top)
    )
    if result.box is not None:
        row, column, height, width = result.box
        ax.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), width, height, fill=False, edgecolor="lime", lw=1.5
            )
        )
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], title=f"region {result.region}, {at_level(result.log_snr)}")
    return ax


def _top(result: Sensitivity) -> float:
    return result.map.value.nan_to_num().max().item() or 1.0
