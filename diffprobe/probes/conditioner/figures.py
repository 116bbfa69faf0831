"""Figures of conditioner locality: matrices of regions by tokens."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from diffprobe.foundations.figures import LABELS, figure
from diffprobe.probes.conditioner.listening import Listening
from diffprobe.probes.conditioner.words import beside_the_optimum

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject

KINDS = {"replaced": "token replaced", "jacobian": "Jacobian in embeddings"}


def draw(results: Mapping[str, Listening], subject: "Subject", folder: Path) -> None:
    """A row for each way of asking, a column for each denoiser."""
    results = beside_the_optimum(results)
    names = list(dict.fromkeys(part.partition("-")[0] for part in results))
    width, height = 2.2 * len(names) + 1.0, 2.4 * len(KINDS)
    with figure(folder / "conditioner", width, height) as canvas:
        axes = canvas.subplots(len(KINDS), len(names), squeeze=False)
        for row, (kind, title) in zip(axes, KINDS.items(), strict=True):
            for ax, name in zip(row, names, strict=True):
                if (result := results.get(f"{name}-{kind}")) is None:
                    ax.set_axis_off()
                    continue
                plot(result, ax)
                ax.set_title(f"{LABELS.get(name, name)}: {_told(result)}", fontsize=8)
                ax.set_ylabel("region" if name == names[0] else "")
            row[0].set_title(
                f"{title}\n{subject.architecture}: {_first(results, kind)}", fontsize=8
            )
        image = axes[0][0].images[0]
        canvas.colorbar(image, ax=axes, label="share of the region’s dependence", fraction=0.03)


def plot(result: Listening, ax: Axes) -> Axes:
    """Draw the matrix, each row divided by its sum; a region that listens to nothing is blank."""
    matrix = result.shares.value
    share = (matrix / matrix.sum(1, keepdim=True)).numpy()
    regions, tokens = share.shape
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    ax.set(
        xlabel="token",
        xticks=range(0, tokens, max(1, tokens // 8)),
        yticks=range(0, regions, max(1, regions // 8)),
    )
    return ax


def _first(results: Mapping[str, Listening], kind: str) -> str:
    return _told(results[f"network-{kind}"])


def _told(result: Listening) -> str:
    """The headline of a matrix."""
    if result.of_cells:
        return f"{result.local_share.value.item():.2f} own"
    tokens = result.tokens_in_effect.value.item()
    return "listens to none" if tokens != tokens else f"{tokens:.1f} tokens"
