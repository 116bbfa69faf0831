"""Figures of attribution: maps of one image, and how far methods and denoisers agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from torch import Tensor
from torch.nn.functional import pad

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.figures import COLORS, LABELS, ON_MAP, at_level, color_of, figure
from diffprobe.foundations.intervals import Interval, stacked
from diffprobe.probes.attribution.judging import Measured
from diffprobe.probes.attribution.maps import Attribution, agreement_between
from diffprobe.probes.attribution.methods import CONTROLS, TITLES
from diffprobe.probes.attribution.one_sample import Account
from diffprobe.probes.attribution.truth import Truth
from diffprobe.probes.attribution.words import attributions

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


_PANELS_A_ROW = 5
_MARGIN = (0.01, 0, 0.98, 1)  # left, bottom, width, height: long labels touch the edge otherwise

# What is shown: its title, a picture of each denoiser, and the scale.
Panel = tuple[str, list[Tensor], tuple[str, int]]

# Colour map, and the lower end of its scale in units of the upper one.
_GREY = ("gray", -1)
_SIGNED = ("RdBu_r", -1)
_SCALES = {"saliency": ("Reds", 0)}  # a magnitude


def draw(results: Mapping[str, Measured], subject: "Subject", folder: Path) -> None:
    """One image's maps; agreement of methods and shares; which methods tell the truth."""
    if isinstance(account := results.get("sample"), Account):
        draw_sample(results, account, subject, folder / "attribution")
        return
    measured = attributions(results)
    labels = [LABELS.get(name, subject.architecture) for name in measured]
    colors = [color_of(subject.architecture if name == "network" else name) for name in measured]
    shown = list(measured.values())
    draw_maps(shown, labels, folder / "attribution", subject.dataset)
    draw_agreement(
        shown,
        labels,
        colors,
        agreement_between(*shown) if len(shown) == 2 else None,
        folder / "attribution-agreement",
    )
    if isinstance(truth := results.get("truth"), Truth):
        draw_truth(truth, shown[0], folder / "attribution-truth")


def draw_sample(
    results: Mapping[str, Measured], account: Account, subject: "Subject", path: Path
) -> None:
    """Draw the sample, and the maps of one of its cells, of the network beside the optimum."""
    measured = attributions(results)
    labels = [LABELS.get(name, subject.architecture) for name in measured]
    draw_maps(
        list(measured.values()),
        labels,
        path,
        subject.dataset,
        above=[(f"sample {account.index}", account.x_0[None].expand(len(labels), -1, -1, -1))],
    )


def plot(
    result: Attribution, ax: Axes, method: str, *, index: int = 0, limit: float | None = None
) -> Axes:
    """Draw one image's map, summed over channels, the region outlined.

    Args:
        method: One of the result's.
        index: Which image.
        limit: End of the colour scale, to share it between maps.
    """
    if method not in result.methods:
        raise unknown_name("attribution method", method, result.methods)
    if not 0 <= index < len(result.x_t):
        raise UsageError(f"image {index} is outside 0 … {len(result.x_t) - 1}")
    picture = result.maps[result.methods.index(method), index].sum(0)
    _show(ax, picture, limit or _limit(picture), *_SCALES.get(method, _SIGNED))
    _outline(ax, result.mask)
    ax.set_title(f"{TITLES[method]}, {at_level(result.log_snr)}")
    return ax


def draw_maps(
    shown: list[Attribution],
    labels: list[str],
    path: Path,
    world: SymbolImages | None = None,
    above: Sequence[tuple[str, Tensor]] = (),
) -> None:
    """Noisy input, output and maps of one image, on one scale for network and optimum.

    It is the image where the last denoiser, the optimum if there is one, is attributed most: where
    an output is certain there is nothing to see. One row for each denoiser, wrapped after five
    panels; for strips, one column each. What is `above` comes before the input. Images of a world
    are shown without a symbol channel.
    """
    first = shown[0]
    index = int(shown[-1].cell_sums[0].sum(-1).argmax())
    panels: list[Panel] = [
        *(
            (title, list((images if world is None else world.pictures(images)).mean(1)), _GREY)
            for title, images in (
                *above,
                ("noisy input", torch.stack([r.x_t[index] for r in shown])),
                ("x0_hat", torch.stack([r.x0_hat[index] for r in shown])),
            )
        ),
        *(
            (TITLES[method], [r.maps[i, index].sum(0) for r in shown], _SCALES.get(method, _SIGNED))
            for i, method in enumerate(first.methods)
        ),
    ]
    height, width = first.mask.shape[1:]
    strip = width > 2 * height
    columns = len(shown) if strip else min(_PANELS_A_ROW, len(panels))
    rows = len(panels) if strip else -(-len(panels) // columns) * len(shown)
    tall = (5.0 if strip else 5.4) / columns * height / width
    with figure(path, 7.0, rows * (tall + (0.12 if strip else 0.3)) + 0.4) as canvas:
        canvas.set_layout_engine("constrained", rect=_MARGIN)
        axes = canvas.subplots(rows, columns, squeeze=False)
        if not strip:
            axes = rearrange(axes, "(row who) panel -> (row panel) who", who=len(shown))
        for ax in axes[len(panels) :].flat:
            ax.set_axis_off()
        for place, (title, pictures, scale) in enumerate(panels):
            limit = max(map(_limit, pictures))
            for ax, picture in zip(axes[place], pictures, strict=True):
                image = _show(ax, picture, limit, *scale)
                _outline(ax, first.mask)
            bar = canvas.colorbar(
                image,
                ax=axes[place].tolist(),
                location="right" if strip else "bottom",
                ticks=image.get_clim(),
                format="%.2g",
                aspect=8 if strip else 15,
            )
            bar.ax.tick_params(labelsize=6)
            if strip:
                axes[place, 0].set_ylabel(title, rotation=0, ha="right", va="center")
                if place == 0:
                    for ax, label in zip(axes[0], labels, strict=True):
                        ax.set_title(label)
            else:
                axes[place, 0].set_title(title, fontsize=8)
                if place % columns == 0:
                    for ax, label in zip(axes[place], labels, strict=True):
                        ax.set_ylabel(label)
        canvas.supxlabel(
            f"F: {first.settings['output']} of x0_hat over {first.cells[first.region]} (green), "
            f"{at_level(first.log_snr)}; maps in F per pixel, saliency in F per unit of x_t",
            fontsize=7,
        )


def draw_agreement(
    shown: list[Attribution],
    labels: list[str],
    colors: list[str],
    with_optimum: Interval | None,
    path: Path,
) -> None:
    """Rank correlation of methods, share inside the region, and agreement with the optimum."""
    first = shown[0]
    titles = [TITLES[m] for m in first.methods]
    places = np.arange(len(titles))
    side = 0.25 * len(titles)
    with figure(path, 7.0, 2 * side + 2.6) as canvas:
        canvas.set_layout_engine("constrained", rect=_MARGIN)
        parts = canvas.subfigures(2, 1, squeeze=False, height_ratios=[side + 1.5, side + 1.1])
        above, below = parts[:, 0]
        matrices = above.subplots(1, len(shown), squeeze=False)[0]
        for ax, result, label in zip(matrices, shown, labels, strict=True):
            image = plot_agreement(result, ax).images[0]
            ax.set_title(label)
            ax.label_outer()
        above.colorbar(image, ax=matrices.tolist(), label="rank correlation over cells", shrink=0.7)

        columns = 1 if with_optimum is None else 2
        axes = below.subplots(1, columns, squeeze=False, sharey=True, gridspec_kw={"wspace": 0.1})[
            0
        ]
        shares = axes[0]
        thick = 0.8 / len(shown)
        for i, (result, label, color) in enumerate(zip(shown, labels, colors, strict=True)):
            share = result.local_share
            at = places + (i - (len(shown) - 1) / 2) * thick
            shares.barh(
                at,
                share.value.numpy(),
                thick,
                xerr=_reach(share),
                color=color,
                label=label,
                ecolor="0.5",
            )
        size = first.mask.float().mean().item()
        shares.axvline(size, color="0.6", ls=":", label="the region's share of the image")
        shares.set(yticks=places, yticklabels=titles, xlim=(0, 1), xlabel="share of |map| inside")
        shares.invert_yaxis()
        if with_optimum is not None:
            axes[1].errorbar(
                with_optimum.value.numpy(),
                places,
                xerr=_reach(with_optimum),
                fmt="o",
                color=colors[0],
            )
            axes[1].axvline(
                first.chance, color="0.6", ls="--", label="maps that agree about the region alone"
            )
            axes[1].set(xlim=(-1, 1), xlabel=f"rank correlation with {labels[-1]}")
        below.legend(loc="outside lower center", ncols=2)


def draw_truth(truth: Truth, result: Attribution, path: Path) -> None:
    """Rank correlation of maps with the exact effect: of the other cells, and of all."""
    rows = len(truth.methods) + len(truth.controls)
    with figure(path, 7.0, 0.22 * rows + 1.3) as canvas:
        axes = canvas.subplots(1, 2, sharey=True)
        plot_truth(truth, axes[0], others=True)
        plot_truth(truth, axes[1], others=False)
        axes[0].set(title="among the other cells")
        axes[1].set(title="with the own cell")
        canvas.supxlabel(
            f"rank correlation of |map| by cell with the exact effect of redrawing a cell on "
            f"{result.cells[truth.region]} (Bayes, {at_level(result.log_snr)})",
            fontsize=8,
        )


def plot_truth(truth: Truth, ax: Axes, *, others: bool = True) -> Axes:
    """Draw how each method, from each baseline, ranks cells beside the exact effect.

    Args:
        truth: The maps and the effects.
        others: Of the other cells alone, or with the region's own.
    """
    scores = [truth.score(others=others)[i] for i in range(len(truth.methods))]
    controls = [truth.control(name, others=others) for name in truth.controls]
    for kind, first, color in ((scores, 0, COLORS["bayes"]), (controls, len(scores), "0.5")):
        found = stacked(kind)
        places = first + np.arange(len(kind))
        ax.errorbar(found.value.numpy(), places, xerr=_reach(found), fmt="o", ms=4, color=color)
    ax.axvline(truth.chance(others=others), color="0.6", ls=":")
    titles = [TITLES[m] for m in truth.methods] + [CONTROLS[name] for name in truth.controls]
    ax.set(yticks=range(len(titles)), yticklabels=titles, xlim=(-0.5, 1.05))
    ax.axhline(len(scores) - 0.5, color="0.8", lw=0.5)
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    return ax


def plot_agreement(result: Attribution, ax: Axes) -> Axes:
    """Draw the matrix of rank correlations between methods, values written in."""
    values = result.agreement.value
    titles = [TITLES[m] for m in result.methods]
    ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(values.numpy()):
        ink = ON_MAP[int(abs(value) > 0.7)]
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=6)
    ticks = range(len(titles))
    ax.set(xticks=ticks, yticks=ticks, yticklabels=titles)
    ax.set_xticklabels(titles, rotation=45, ha="right", rotation_mode="anchor")
    return ax


def _reach(found: Interval) -> np.ndarray:
    """Return how far intervals reach below and above their values: (2, …); 0 where none is told."""
    reach = torch.stack([found.value - found.low, found.high - found.value])
    return reach.nan_to_num().clamp(min=0).numpy()


def _show(ax: Axes, picture: Tensor, limit: float, cmap: str, low: int) -> AxesImage:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="0.7", linewidth=0.5)
    return ax.imshow(picture.numpy(), cmap=cmap, vmin=low * limit, vmax=limit)


def _limit(picture: Tensor) -> float:
    return picture.abs().max().item() or 1.0


def _outline(ax: Axes, mask: Tensor) -> None:
    """Draw the border of the pixels of `mask (C, H, W)`."""
    inside = pad(mask.any(0), (1, 1, 1, 1))
    # An edge lies between a pixel and its neighbour where one is inside and the other is not.
    level = (inside[1:] != inside[:-1]).nonzero() - 0.5
    upright = (inside[:, 1:] != inside[:, :-1]).nonzero() - 0.5
    edges = [((x - 1, y), (x, y)) for y, x in level.tolist()]
    edges += [((x, y - 1), (x, y)) for y, x in upright.tolist()]
    ax.add_collection(LineCollection(edges, colors="lime", linewidths=1.2))
