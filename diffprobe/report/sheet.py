"""A picture of samples with the wrong ones marked."""

import math
from pathlib import Path

import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.stored_images import Pictures
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.figures import COLORS, figure


def draw(
    path: Path, dataset: SymbolImages, images: Pictures, verdicts: Verdicts, limit: int = 48
) -> None:
    """Store a sheet of the first samples as `path` with the endings .png and .svg."""
    rows, columns = _layout(dataset, min(limit, len(images)))
    _, height, width = dataset.image_shape
    gap = _gap(dataset)
    inches = 7.0
    sheet = (rows * (height + gap) + gap) / (columns * (width + gap) + gap)
    with figure(path, inches, 0.5 + inches * sheet) as canvas:
        plot(dataset, images, verdicts, canvas.subplots(), limit)


def plot(
    dataset: SymbolImages, images: Pictures, verdicts: Verdicts, ax: Axes, limit: int = 48
) -> Axes:
    """Draw the first samples side by side, the wrong ones marked.

    A valid word has a solid frame, an invalid one a dashed frame, an illegible sample none, with
    each cell that cannot be read crossed out.

    Args:
        dataset: Whose grid they have.
        images: (N, C, H, W) of 1 or 3 channels; values outside [-1, 1] are clipped.
        verdicts: Of these images.
        ax: What to draw on.
        limit: Samples drawn at most; no row is left half-filled.
    """
    rows, columns = _layout(dataset, min(limit, len(images)))
    channels, height, width = dataset.image_shape
    gap = _gap(dataset)
    size = rows * (height + gap) + gap, columns * (width + gap) + gap
    sheet = torch.full((channels, *size), torch.nan)
    corners = []
    for index in range(min(limit, len(images), rows * columns)):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[:, top : top + height, left : left + width] = images[index].clamp(-1, 1)
        corners.append((top, left))
    if channels == 1:
        ax.imshow(sheet[0].numpy(), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
    else:
        colours = rearrange((sheet + 1) / 2, "c h w -> h w c").nan_to_num(1.0)
        ax.imshow(colours.numpy(), interpolation="nearest")
    for index, corner in enumerate(corners):
        _mark(ax, dataset, verdicts, index, corner)
    ax.set_axis_off()
    cross = Line2D([], [], color=COLORS["illegible"], marker="x", ls="", label="unreadable cell")
    ax.legend(
        handles=[
            Line2D([], [], color=COLORS["grammatical"], lw=1.5, label="grammatical"),
            Line2D([], [], color=COLORS["invalid"], lw=1.5, ls="--", label="wrong"),
            cross,
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
    )
    return ax


def _layout(dataset: SymbolImages, n: int) -> tuple[int, int]:
    """Rows and columns of a sheet a little wider than high."""
    _, height, width = dataset.image_shape
    columns = max(1, min(n, round(math.sqrt(n * 1.6 * height / width))))
    return max(1, n // columns), columns


def _gap(dataset: SymbolImages) -> int:
    """Pixels between samples."""
    return max(2, round(0.12 * max(dataset.glyphs.cell)) + 1)


def _mark(
    ax: Axes, dataset: SymbolImages, verdicts: Verdicts, index: int, corner: tuple[int, int]
) -> None:
    top, left = corner
    _, height, width = dataset.image_shape
    if verdicts.legible[index]:
        kind = "grammatical" if verdicts.grammatical[index] else "invalid"
        ax.add_patch(
            Rectangle(
                (left - 1.0, top - 1.0),
                width + 1,
                height + 1,
                fill=False,
                lw=1.3,
                edgecolor=COLORS[kind],
                linestyle="-" if kind == "grammatical" else "--",
            )
        )
        return
    cell_height, cell_width = dataset.glyphs.cell
    for cell in (~verdicts.legible_cells[index]).nonzero()[:, 0].tolist():
        row, column = divmod(cell, dataset.grid[1])
        y = [top + row * cell_height - 0.5, top + (row + 1) * cell_height - 0.5]
        x = [left + column * cell_width - 0.5, left + (column + 1) * cell_width - 0.5]
        for ends in (y, y[::-1]):
            ax.plot(x, ends, color=COLORS["illegible"], lw=0.8, alpha=0.9)
