"""Figures of interventions: matrices of where the change of one region goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.foundations.figures import LABELS, figure
from diffprobe.probes.intervention.beside import Measured, beside_the_optimum
from diffprobe.probes.intervention.changes import Intervention

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def draw(results: Mapping[str, Measured], subject: "Subject", folder: Path) -> None:
    """Jacobian, redrawn noise and redrawn symbols side by side, a row for each denoiser."""
    results = beside_the_optimum(results)
    names = list(dict.fromkeys(key.rsplit("-", 1)[0] for key in results))
    kinds = list(dict.fromkeys(key.rsplit("-", 1)[1] for key in results))
    with figure(folder / "intervention", 2.3 * len(kinds) + 0.9, 2.3 * len(names) + 0.2) as canvas:
        axes = canvas.subplots(len(names), len(kinds), squeeze=False, sharex=True, sharey=True)
        for row, name in zip(axes, names, strict=True):
            for ax, kind in zip(row, kinds, strict=True):
                result = results[f"{name}-{kind}"]
                if isinstance(result, Intervention):
                    share = result.local_share.value.item()
                    plot(result, ax)
                else:
                    share = result.ldr.value[0].item()
                    _plot_matrix(result.shares.value[0], ax, "Jacobian")
                ax.set_title(f"{ax.get_title()}: {share:.2f} local", fontsize=8)
                ax.label_outer()
            who = LABELS.get(name, subject.architecture)
            row[0].set_ylabel(f"{who}\noutput region", fontsize=8)
        image = axes[0][0].images[0]
        canvas.colorbar(image, ax=axes, label="share of the change in its column", fraction=0.03)


def plot(result: Intervention, ax: Axes) -> Axes:
    """Draw the matrix, each column divided by its sum: where the change of one region goes."""
    return _plot_matrix(result.shares.value, ax, f"{result.kind} redrawn")


def _plot_matrix(matrix: Tensor, ax: Axes, title: str) -> Axes:
    share = (matrix / matrix.sum(0, keepdim=True)).numpy()
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis")
    ticks = range(0, len(share), max(1, len(share) // 8))
    ax.set(xlabel="changed region", ylabel="output region", xticks=ticks, yticks=ticks, title=title)
    return ax
