"""Figures of locality: ratios over noise levels, dependence matrices, decay with distance."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.foundations.figures import LABELS, LINES, color_of, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.probes.locality.beside import beside_the_optimum
from diffprobe.probes.locality.ldr import Locality, excess
from diffprobe.probing.ratio import FLOOR

if TYPE_CHECKING:
    from diffprobe.probing.subject import Subject


def plot(result: Locality, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw the LDR against log-SNR with its 95 % band; the curve ends where no interval is told."""
    _draw_curve(ax, result.log_snr, result.ldr, label=label, **style)
    ax.set(xlabel="log-SNR (nats)", ylabel=f"LDR ({result.settings['variant']})", ylim=(0, 1.05))
    return ax


def plot_excess(log_snr: Tensor, gap: Interval, ax: Axes, **style: Any) -> Axes:
    """Draw LDR(network) − LDR(oracle) against log-SNR with its 95 % band."""
    _draw_curve(ax, log_snr, gap, **style)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set(xlabel="log-SNR (nats)", ylabel="excess LDR")
    return ax


def plot_dependence(result: Locality, ax: Axes, level: int) -> Axes:
    """Draw the shares of dependence at index `level`, each row divided by its sum."""
    matrix = result.shares.value[level]
    share = (matrix / matrix.sum(1, keepdim=True)).numpy()
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis")
    if result.ldr.value[level].isnan():
        ax.images[0].set_visible(False)
        ax.text(0.5, 0.5, "depends on\nnothing", ha="center", va="center", transform=ax.transAxes)
    rows, columns = share.shape
    step = max(1, rows // 8)
    names = [str(i) for i in range(0, rows, step)]
    ax.set(
        xlabel="input region",
        ylabel="output region",
        yticks=range(0, rows, step),
        title=f"log-SNR {result.log_snr[level]:.1f}",
    )
    rest = columns > rows
    ax.set_xticks([*range(0, rows, step), *[rows] * rest], [*names, *["rest"] * rest])
    return ax


def plot_decay(
    result: Locality, ax: Axes, level: int, label: str = "network", **style: Any
) -> Axes:
    """Draw the decay of dependence with distance at index `level`, on a logarithmic scale."""
    decay = result.decay[level]
    value = decay.value.clamp(min=FLOOR)
    below = (value - decay.low.clamp(min=FLOOR)).nan_to_num().clamp(min=0)
    above = (decay.high - value).nan_to_num().clamp(min=0)
    ax.errorbar(
        result.distances.numpy(),
        value.numpy(),
        yerr=torch.stack([below, above]).numpy(),
        marker="o",
        markersize=3,
        capsize=2,
        label=label,
        **style,
    )
    ax.set(
        xlabel="distance between regions (pixels)",
        ylabel="dependence, share of the own region's",
        yscale="log",
        ylim=(FLOOR, 2),
        title=f"log-SNR {result.log_snr[level]:.1f}",
    )
    return ax


def draw(results: Mapping[str, Locality], subject: "Subject", folder: Path) -> None:
    """Store every figure of locality in `folder`."""
    results = beside_the_optimum(results)
    gap = excess(results["network"], results["bayes"]) if "bayes" in results else None
    _draw_ldr(results, gap, subject, folder)
    _draw_dependence(results, subject, folder)
    network = results["network"]
    with figure(folder / "decay", 5.5, 3.2) as canvas:
        ax = canvas.subplots()
        for name, result in results.items():
            plot_decay(result, ax, network.at(subject.level), **_style(name, subject))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_curve(ax: Axes, x: Tensor, found: Interval, **style: Any) -> None:
    told = found.value.where(found.low.isfinite(), torch.nan)
    (line,) = ax.plot(x.numpy(), told.numpy(), marker="o", markersize=3, **style)
    ax.fill_between(
        x.numpy(),
        found.low.numpy(),
        found.high.numpy(),
        color=line.get_color(),
        alpha=0.25,
        linewidth=0,
    )


def _style(name: str, subject: "Subject") -> dict[str, Any]:
    style: dict[str, Any] = {
        "label": LABELS.get(name, subject.architecture),
        "color": color_of(subject.architecture if name == "network" else name),
        "linestyle": LINES.get(name, "-"),
    }
    # The network lies on the product oracle when it is local: in front, and thicker.
    return style | ({"zorder": 3, "linewidth": 2.5} if name == "network" else {})


def _draw_ldr(
    results: Mapping[str, Locality], gap: Interval | None, subject: "Subject", folder: Path
) -> None:
    network = results["network"]
    panels = 1 if gap is None else 2
    with figure(folder / "ldr", 6.0, 3.5 if gap is None else 5.0) as canvas:
        axes = canvas.subplots(
            panels, 1, sharex=True, squeeze=False, height_ratios=[2, 1][:panels]
        ).flatten()
        for name, result in results.items():
            plot(result, axes[0], **_style(name, subject))
        nowhere = subject.regions.no_locality
        axes[0].axhline(nowhere, color="0.6", lw=1, ls=":", label=f"no locality ({nowhere:.2g})")
        if gap is not None:
            plot_excess(network.log_snr, gap, axes[1], color=color_of(subject.architecture))
            axes[0].set_xlabel("")
        what = "grammar is worth most" if subject.dataset else "level of the other probes"
        for t, text, style in (
            (subject.forms_at, "symbols form", "--"),
            (subject.level, what, "-."),
        ):
            if t is not None:
                x = network.log_snr[network.at(t)].item()
                for ax, label in zip(axes, (text, None), strict=False):
                    ax.axvline(x, color="0.5", linewidth=1, linestyle=style, label=label)
        axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_dependence(results: Mapping[str, Locality], subject: "Subject", folder: Path) -> None:
    """Matrices of the network (above) and the Bayes oracle, at three noise levels."""
    network = results["network"]
    names = [name for name in ("network", "bayes") if name in results]
    last = len(network.t) - 1
    levels = sorted({last // 6, network.at(subject.level), last - last // 6})
    with figure(folder / "dependence", 7.5, 2.6 * len(names)) as canvas:
        axes = canvas.subplots(len(names), len(levels), squeeze=False, sharex=True, sharey=True)
        for row, name in zip(axes, names, strict=True):
            for ax, level in zip(row, levels, strict=True):
                image = plot_dependence(results[name], ax, level).images[0]
                ax.label_outer()
            row[0].set_ylabel(f"{LABELS.get(name, subject.architecture)}\noutput region")
        canvas.colorbar(image, ax=axes, label="share of ‖J‖² in its row", fraction=0.03)
