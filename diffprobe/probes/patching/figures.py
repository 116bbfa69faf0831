"""Figures of patching: effects by part and noise level, cell to cell, attention, and samples."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.foundations.figures import COLORS, at_level, figure
from diffprobe.probes.patching import CORRUPTED
from diffprobe.probes.patching.attention import Attention
from diffprobe.probes.patching.components import OTHERS, OWN, WHOLE
from diffprobe.probes.patching.effects import PLACES, SCALES, Effects
from diffprobe.probes.patching.samples import SamplesWithout

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject

# Tables from cell to cell, heads, and parts that a figure shows.
TABLES, HEADS, PARTS = 5, 24, 40
# Inches of a character of a part's name, and how many of them a title above a matrix has room for.
CHARACTER, ROOM = 0.05, 22


def draw(results: Mapping[str, Any], subject: "Subject", folder: Path) -> None:
    """Store every figure of patching in `folder`."""
    network: Effects = results["network"]
    attention: Attention | None = results.get("attention")
    rows = min(len(network.components), PARTS)
    panels = [
        (kind, place, scale)
        for kind in network.replacements
        for place in PLACES[:0:-1]
        for scale in network.scales
        # How far a part alone goes the optimum's way counts in other cells.
        if scale == SCALES[0] or (kind, place) == (CORRUPTED, "others")
        if kind == CORRUPTED or place == "others"
    ]
    width = 0.8 + _longest(network.components) + 2.0 * len(panels)
    with figure(folder / "patching", width, 1.3 + 0.15 * rows) as canvas:
        axes = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (kind, place, scale) in zip(axes, panels, strict=True):
            plot(network, ax, kind, place, scale)
            ax.label_outer()
        _colorbar(canvas, axes, shrink=0.6)
    if network.table is not None:
        _draw_cells(network, folder)
    if attention is not None:
        _draw_attention(attention, folder)
        _draw_heads(attention, folder)
    if "samples" in results:
        samples: SamplesWithout = results["samples"]
        height = 1.2 + 0.17 * (1 + min(len(samples.parts), PARTS))
        with figure(folder / "patching-samples", 6.0, height) as canvas:
            plot_samples(samples, canvas.subplots(1, 2, sharey=True))


def plot(
    result: Effects,
    ax: Axes,
    replacement: str = CORRUPTED,
    place: str = "others",
    scale: str = SCALES[0],
) -> Axes:
    """Draw effects, a row for each part and a column for each noise level.

    Grey is where the change, of which they are a share, is nothing. The mark below stands at the
    level where the probes look. Of more parts than fit those are shown that do most in one level.
    """
    shown = _strongest(result.effect(result.replacements[0], "others").value, PARTS)
    _map(ax, result.effect(replacement, place, scale).value[shown])
    ax.set_yticks(range(len(shown)), [result.components[c] for c in shown], fontsize=6)
    levels = [f"{s:z.1f}".replace("-", "−") for s in result.log_snr.tolist()]
    ax.set_xticks(range(len(levels)), levels, fontsize=6)
    ax.get_xticklabels()[result.level].set_fontweight("bold")
    where = {"own": "the cell itself", "others": "other cells"}.get(place, "the image")
    how = "told, to" if replacement == CORRUPTED else f"held at {replacement}, lost in"
    whose = "" if scale == SCALES[0] else ", of the optimum’s way"
    ax.set(xlabel="log-SNR (nats)")
    ax.set_title("\n".join(wrap(f"{how} {where}{whose}", 32)), fontsize=7)
    return ax


def plot_table(table: Tensor, ax: Axes, title: str) -> Axes:
    """Draw what a part takes from each changed cell (column) to each output cell (row)."""
    _map(ax, table)
    _cells(ax, len(table))
    ax.set_xlabel("changed cell", fontsize=7)
    ax.set_title(_broken(title), fontsize=7)
    return ax


def plot_by_cell(result: Effects, ax: Axes, components: Sequence[str]) -> Axes:
    """Draw what parts (rows) take from each changed cell (column) to all others together."""
    assert result.table is not None
    rows = result.table.value[[result.components.index(name) for name in components]]
    cells = rows.shape[-1]
    _map(ax, rows.nansum(1).where(~rows.isnan().all(1), torch.nan))
    ax.set_yticks(range(len(components)), components, fontsize=6)
    ax.set_xticks(range(0, cells, max(1, cells // 4)))
    ax.tick_params(axis="x", labelsize=6)
    ax.set_xlabel("changed cell", fontsize=7)
    ax.set_title("to all other cells", fontsize=7)
    return ax


def plot_attention(result: Attention, ax: Axes, head: int) -> Axes:
    """Draw a head's attention between cells where the probes look."""
    name = result.heads[head]
    matrix = result.maps[name][result.level]
    ax.imshow(matrix.numpy(), vmin=0, vmax=1, cmap="viridis")
    _cells(ax, len(matrix))
    agreement = float(result.agreement.value[head, result.level])
    told = "" if agreement != agreement else f": {agreement:z.2f}".replace("-", "−")
    ax.set_title(_broken(name.replace(":", " ")) + told, fontsize=7)
    return ax


def plot_heads(result: Attention, values: Tensor, ax: Axes, **style: Any) -> Axes:
    """Draw a number of each head (row) at each noise level (column): `values (H, T)`."""
    shown = range(min(len(result.heads), PARTS))
    _map(ax, values[: len(shown)], **style)
    ax.set_yticks(shown, result.heads[: len(shown)], fontsize=6)
    levels = [f"{s:z.1f}".replace("-", "−") for s in result.log_snr.tolist()]
    ax.set_xticks(range(len(levels)), levels, fontsize=6)
    ax.set_xlabel("log-SNR (nats)")
    return ax


def plot_samples(result: SamplesWithout, axes: Sequence[Axes]) -> None:
    """Draw legible and grammatical rates without each part, those first that cost most."""
    order = sorted(result.parts.items(), key=lambda part: part[1].difference.value or 0.0)[:PARTS]
    names = [name for name, _ in order]
    for ax, rate in zip(axes, ("legible", "grammatical"), strict=True):
        rates = [getattr(without, rate) for _, without in order]
        values = [torch.nan if r.value is None else r.value for r in rates]
        ax.hlines(range(len(order)), [r.low for r in rates], [r.high for r in rates], color="0.6")
        ax.plot(values, range(len(order)), "o", ms=3, color=COLORS["network"])
        whole = getattr(result.whole, rate).value
        if whole is not None:
            ax.axvline(whole, color=COLORS["network"], ls="--", lw=1, label="the whole network")
        if rate == "grammatical":
            ax.axvline(result.chance, color="0.3", ls=":", lw=1, label="chance")
        ax.set(xlim=(-0.02, 1.02), xlabel=rate)
    axes[0].set_yticks(range(len(order)), names, fontsize=6)
    axes[0].set_ylim(len(order) - 0.5, -0.5)
    axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7)


def _draw_cells(result: Effects, folder: Path) -> None:
    assert result.table is not None
    effect = result.effect(CORRUPTED, "others").value[:, result.level]
    heads = [name for name in result.components if ":head" in name][:PARTS]
    whole = [name != WHOLE and not name.endswith((OWN, OTHERS)) for name in result.components]
    effect = effect.nan_to_num(nan=-1.0).where(torch.tensor(whole), -torch.inf)
    shown = _strongest(effect[:, None], min(TABLES, sum(whole)))
    parts = [result.components[c] for c in shown]
    tables = {name: result.table.value[result.components.index(name)] for name in (WHOLE, *parts)}
    if result.optimum is not None:
        tables["Bayes optimum"] = result.optimum.value
    width = 1.4 + _longest(heads or parts) + 1.4 * len(tables)
    height = 0.1 * max(map(_lines, tables)) + max(1.8, 0.9 + 0.1 * len(heads or parts))
    with figure(folder / "patching-cells", width, height) as canvas:
        axes = canvas.subplots(1, 1 + len(tables))
        plot_by_cell(result, axes[0], heads or parts)
        for ax, (name, table) in zip(axes[1:], tables.items(), strict=True):
            plot_table(table, ax, name)
        if result.optimum is not None:
            _frame(axes[-1])
        axes[1].set_ylabel("output cell", fontsize=7)
        _colorbar(canvas, axes, fraction=0.03)
        canvas.suptitle(at_level(result.log_snr[result.level]), fontsize=8)


def _draw_attention(result: Attention, folder: Path) -> None:
    n = min(len(result.heads), HEADS)
    known = result.dependence is not None
    columns = min(6, n + known)
    rows = -(-(n + known) // columns)
    each = 1.35 + 0.1 * max(map(_lines, result.heads[:n]))
    with figure(folder / "patching-attention", 1.3 * columns + 1.0, each * rows + 0.7) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for head in range(n):
            plot_attention(result, axes[head], head)
        if known:
            _optimum(axes[n], result)
        for ax in axes[n + known :]:
            ax.set_visible(False)
        shown = axes[: n + known]
        # Of many cells none gets much: one scale for all, as far as the largest.
        most = max(float(ax.images[0].get_array().max()) for ax in shown)
        for ax in shown:
            ax.images[0].set_clim(0, most)
        canvas.colorbar(axes[0].images[0], ax=shown, label="attention", fraction=0.03)
        canvas.supxlabel("input cell", fontsize=7)
        canvas.supylabel("output cell", fontsize=7)
        canvas.suptitle(at_level(result.log_snr[result.level]), fontsize=8)


def _draw_heads(result: Attention, folder: Path) -> None:
    """Draw attention to the own cell and, beside an optimum, agreement with it, by noise level."""
    height = 1.1 + 0.16 * min(len(result.heads), PARTS)
    panels: list[tuple[str, Tensor, dict[str, Any]]] = [
        ("attention to the own cell", result.own.value, {})
    ]
    if result.dependence is not None:
        signed = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
        panels.append(("looks where the optimum depends", result.agreement.value, signed))
    width = 0.8 + _longest(result.heads) + 2.6 * len(panels)
    with figure(folder / "patching-heads", width, height) as canvas:
        axes = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, values, style) in zip(axes, panels, strict=True):
            plot_heads(result, values, ax, **style).set_title(title, fontsize=7)
            label = "rank correlation" if style else "share"
            canvas.colorbar(ax.images[0], ax=ax, shrink=0.8, label=label)
            ax.label_outer()


def _optimum(ax: Axes, attention: Attention) -> None:
    """Draw the optimum's dependence, each row divided by its sum, in a frame of its own colour."""
    assert attention.dependence is not None
    matrix = attention.dependence[attention.level]
    share = matrix / matrix.sum(1, keepdim=True)
    ax.imshow(share.numpy(), vmin=0, vmax=1, cmap="viridis")
    _cells(ax, len(share))
    ax.set_title("Bayes optimum", fontsize=7)
    _frame(ax)


def _colorbar(canvas: Figure, axes: Sequence[Axes], **place: Any) -> None:
    """Draw the scale of effects, which may lie below 0 and above 1."""
    canvas.colorbar(axes[0].images[0], ax=axes, label="share of the way", extend="both", **place)


def _longest(names: Iterable[str]) -> float:
    """The width of the longest name, in inches."""
    return CHARACTER * max(map(len, names))


def _broken(name: str) -> str:
    """Break a long name of a module behind some of its points."""
    return "\n".join(wrap(name.replace(".", ". "), ROOM)).replace(". ", ".")


def _lines(name: str) -> int:
    return _broken(name).count("\n")


def _frame(ax: Axes) -> None:
    for spine in ax.spines.values():
        spine.set(visible=True, color=COLORS["bayes"], linewidth=1.5)


def _map(ax: Axes, values: Tensor, vmin: int = 0, vmax: int = 1, cmap: str = "viridis") -> None:
    shades = mpl.colormaps[cmap].with_extremes(bad="0.85")
    ax.imshow(values.numpy(), vmin=vmin, vmax=vmax, cmap=shades, aspect="auto")


def _cells(ax: Axes, n: int) -> None:
    ticks = range(0, n, max(1, n // 4))
    ax.set(xticks=ticks, yticks=ticks)
    ax.tick_params(labelsize=6)


def _strongest(effect: Tensor, most: int) -> list[int]:
    """The places of `most` rows of `effect (C, T)` at most, by their largest, in their order."""
    largest = effect.nan_to_num(nan=-1.0).amax(1)
    return sorted(largest.argsort(descending=True, stable=True)[:most].tolist())
