"""The local dependency ratio and the dependence matrix over noise levels.

    B[i, j] = E ‖J_{region i, region j}‖_F²      LDR = E sum_i B[i, i] / E sum_ij B[i, j]

The name is from Lu et al., arXiv:2503.03595, who define it as reliance on the local region; the
norm is stated by `variant`:

    squared          squared Frobenius norms, pooled over inputs (the default)
    frobenius        Frobenius norms per region, pooled
    l1               sums of absolute values, pooled
    mean-of-ratios   squared norms, the ratio taken for each input and then averaged

and so is the output whose Jacobian is meant. With J that of x0_hat,

    epsilon   eps_hat = (x_t - alpha x0_hat) / sigma       its Jacobian is (1 - alpha J) / sigma
    score     -eps_hat / sigma                             the same up to a factor: the same LDR

so that these two count what passes straight through as dependence on the own region: where
alpha J is small against 1, in much noise, their LDR is near 1 whatever J is.

A raw LDR proves nothing: the optimal denoiser of parity is itself almost local at high noise. The
headline is the excess LDR, network minus Bayes oracle, on the same inputs and projections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.errors import UsageError
from diffprobe.figures import COLORS, LABELS, LINES, figure
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import (
    batches,
    estimated_energies,
    exact_energies,
    reverse_passes,
)
from diffprobe.probes.noise_levels import noisy_inputs, spread_levels
from diffprobe.probes.output_space import in_space
from diffprobe.probes.ratio import (
    decay_with_distance,
    local_dependency_ratio,
    region_distances,
    standard_error,
)
from diffprobe.probes.regions import Regions, default_regions
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, interval
from diffprobe.seeding import generator

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "images",
    "levels",
    "projections",
    "precision",
    "precision_images",
    "variant",
    "output",
    "batch_size",
    "seed",
)


@dataclass(frozen=True)
class Locality:
    """LDR and dependence at T noise levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,) log(alpha²/sigma²).
        inputs: (T,) long, number of noisy images.
        ldr: (T,) local dependency ratio; NaN where the output depends on nothing.
        ldr_error: (T,) its standard error over inputs and projections.
        dependence: (T, R, R) mean energy from input region j (column) to output region i (row).
        dependence_error: (T, R, R) its standard error.
        distances: (K,) distances between the centres of two regions, in pixels; the first is 0.
        decay: (T, K) energy from a region that far away, mean over pairs, as a share of that from
            the own region; NaN where the output depends on nothing.
        decay_error: (T, K) its standard error.
        influence: (T, N) of each input on the LDR; its standard deviation over sqrt(N) is the
            error, and that of a difference of two is the error of an excess. NaN for inputs that
            a level did not need.
        settings: Variant, output, number of inputs, projections (0 is exact), seed.
    """

    t: Tensor
    log_snr: Tensor
    inputs: Tensor
    ldr: Tensor
    ldr_error: Tensor
    dependence: Tensor
    dependence_error: Tensor
    distances: Tensor
    decay: Tensor
    decay_error: Tensor
    influence: Tensor
    settings: dict[str, Any]

    def at(self, t: int) -> int:
        """Return the index of the level nearest `t`."""
        return int((self.t - t).abs().argmin())


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig | None = None,
    *,
    regions: Regions | None = None,
    levels: Tensor | None = None,
    include: Sequence[int] = (),
    inputs: Tensor | None = None,
    description: str = "locality",
    progress: Progress = silent,
) -> Locality:
    """Measure the LDR and the dependence matrix of a denoiser on noisy images.

    Args:
        denoiser: A network or an oracle.
        images: Where the inputs come from.
        config: Inputs, levels, projections, variant, output, batch size, seed. With a `precision`,
            inputs are added, `images` at a time, until the standard error of the LDR is no larger
            or there are `precision_images`.
        regions: The cells of a dataset by default.
        levels: (T,) timesteps instead of `config.levels` spread ones.
        include: More timesteps to visit.
        inputs: (T,) inputs at each level, those of another measurement to be compared with.
        description: What the progress bar says.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a number is out of range.
    """
    config = config or ProbeConfig()
    _check(config)
    regions = regions or default_regions(images)
    levels = spread_levels(denoiser, config.levels) if levels is None else levels
    if include:
        levels = torch.tensor(sorted({*levels.tolist(), *include}, reverse=True))
    distances, pairs = region_distances(regions)
    ratios, dependence, decays, counts = [], [], [], []
    for index, t in enumerate(progress(levels.tolist(), desc=description, unit="level")):
        wanted = None if inputs is None else int(inputs[index])
        energies = _energies(denoiser, images, config, regions, t, wanted)
        counts.append(len(energies))
        ratios.append(local_dependency_ratio(energies, config.variant))
        dependence.append((energies.mean(0), energies.std(0) / len(energies) ** 0.5))
        decays.append(decay_with_distance(energies, pairs))
    influence = torch.full((len(levels), max(counts)), math.nan, dtype=torch.float64)
    for row, (_, values) in zip(influence, ratios, strict=True):
        row[: len(values)] = values
    return Locality(
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        inputs=torch.tensor(counts),
        ldr=torch.tensor([r[0] for r in ratios]),
        ldr_error=standard_error(influence),
        dependence=torch.stack([d[0] for d in dependence]),
        dependence_error=torch.stack([d[1] for d in dependence]),
        distances=distances,
        decay=torch.stack([d[0] for d in decays]),
        decay_error=torch.stack([d[1] for d in decays]),
        influence=influence,
        settings={
            "variant": config.variant,
            "output": config.output,
            "images": config.images,
            "precision": config.precision,
            "projections": 0 if _is_exact(config) else config.projections,
            "seed": config.seed,
        },
    )


def cost(regions: Regions, config: ProbeConfig) -> str:
    """Return in words what one noise level costs."""
    exact = _is_exact(config)
    passes = reverse_passes(regions.masks, 0 if exact else config.projections)
    how = "exactly" if exact else f"by {config.projections} random projections a region"
    return (
        f"{passes:,} reverse passes {how}, for {config.images:,} inputs in batches of "
        f"{min(config.images, config.batch_size):,}"
    )


def excess(network: Locality, oracle: Locality) -> tuple[Tensor, Tensor]:
    """Return LDR(network) − LDR(oracle) at each level, and its standard error.

    Both must be measured on the same inputs; the error is that of the paired difference.

    Raises:
        UsageError: If levels, inputs or settings differ.
    """
    same = torch.equal(network.t, oracle.t) and torch.equal(network.inputs, oracle.inputs)
    if not same or network.settings != oracle.settings:
        raise UsageError("an excess LDR needs two measurements of the same levels and settings")
    return network.ldr - oracle.ldr, standard_error(network.influence - oracle.influence)


def plot(result: Locality, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw the LDR against log-SNR with a band of ±1.96 standard errors."""
    _draw_curve(ax, result.log_snr, result.ldr, result.ldr_error, label=label, **style)
    ax.set(xlabel="log-SNR (nats)", ylabel=f"LDR ({result.settings['variant']})", ylim=(0, 1.05))
    return ax


def plot_excess(network: Locality, oracle: Locality, ax: Axes, **style: Any) -> Axes:
    """Draw LDR(network) − LDR(oracle) against log-SNR with a band of ±1.96 standard errors."""
    value, error = excess(network, oracle)
    _draw_curve(ax, network.log_snr, value, error, **style)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set(xlabel="log-SNR (nats)", ylabel="excess LDR")
    return ax


def plot_dependence(result: Locality, ax: Axes, level: int) -> Axes:
    """Draw the dependence matrix at index `level`, each row divided by its sum."""
    matrix = result.dependence[level]
    share = (matrix / matrix.sum(1, keepdim=True)).numpy()
    ax.imshow(share, vmin=0, vmax=1, cmap="viridis")
    if result.ldr[level].isnan():
        ax.images[0].set_visible(False)
        ax.text(0.5, 0.5, "depends on\nnothing", ha="center", va="center", transform=ax.transAxes)
    ticks = range(0, len(share), max(1, len(share) // 8))
    ax.set(
        xlabel="input region",
        ylabel="output region",
        xticks=ticks,
        yticks=ticks,
        title=f"log-SNR {result.log_snr[level]:.1f}",
    )
    return ax


def plot_decay(
    result: Locality, ax: Axes, level: int, label: str = "network", **style: Any
) -> Axes:
    """Draw the decay of dependence with distance at index `level`, on a logarithmic scale."""
    floor = 1e-6  # what is less is drawn at the bottom
    value = result.decay[level].clamp(min=floor)
    half = 1.96 * result.decay_error[level].nan_to_num()
    below = torch.minimum(half, value - floor).clamp(min=0)
    ax.errorbar(
        result.distances.numpy(),
        value.numpy(),
        yerr=torch.stack([below, half]).numpy(),
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
        ylim=(floor, 2),
        title=f"log-SNR {result.log_snr[level]:.1f}",
    )
    return ax


def _draw_curve(ax: Axes, x: Tensor, y: Tensor, error: Tensor, **style: Any) -> None:
    low, high = (y - 1.96 * error).numpy(), (y + 1.96 * error).numpy()
    (line,) = ax.plot(x.numpy(), y.numpy(), marker="o", markersize=3, **style)
    ax.fill_between(x.numpy(), low, high, color=line.get_color(), alpha=0.25, linewidth=0)


def _is_exact(config: ProbeConfig) -> bool:
    # Random projections estimate squares only.
    return config.projections == 0 or config.variant == "l1"


def _check(config: ProbeConfig) -> None:
    if config.images < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {config.images}")
    if config.precision < 0:
        raise UsageError(f"probe.precision must not be negative, but it is {config.precision}")


def _energies(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig,
    regions: Regions,
    t: int,
    inputs: int | None,
) -> Tensor:
    """Return the energies of as many inputs as asked for, or as the precision needs: (N, R, R)."""
    asked = in_space(denoiser, config.output)
    found: list[Tensor] = []
    for block in range(10**6):
        x_t = noisy_inputs(denoiser, images, config.images, t, config.seed, block)
        for batch in batches(x_t, config.batch_size):
            if _is_exact(config):
                power = 1 if config.variant == "l1" else 2
                part = exact_energies(asked, batch, t, regions.masks, power)
            else:
                random = generator(config.seed, f"projections/{t}", len(found))
                part = estimated_energies(
                    asked, batch, t, regions.masks, config.projections, random
                )
            found.append(part.cpu())
        energies = torch.cat(found)
        if _enough(energies, config, inputs):
            break
    return energies


def _enough(energies: Tensor, config: ProbeConfig, inputs: int | None) -> bool:
    if inputs is not None:
        return len(energies) >= inputs
    if config.precision == 0 or len(energies) >= config.precision_images:
        return True
    _, influence = local_dependency_ratio(energies, config.variant)
    return not bool(standard_error(influence) > config.precision)


# ---- in the suite -------------------------------------------------------------------------------


def probe(subject: "Subject", keep: "Keep") -> dict[str, Locality]:
    """Measure network and oracles on the same inputs."""
    found: dict[str, Locality] = {}
    include = sorted({subject.level, *filter(None, [subject.forms_at])})
    for name, denoiser in {"network": subject.denoiser, **subject.oracles}.items():
        if name == "empirical" and denoiser is subject.oracles.get("bayes"):
            found[name] = found["bayes"]
            continue
        inputs = found["network"].inputs if found else None
        found[name] = keep(
            name,
            Locality,
            partial(
                measure,
                denoiser,
                subject.images,
                subject.config.probe,
                regions=subject.regions,
                include=include,
                inputs=inputs,
                description=f"locality, {name}",
                progress=subject.progress,
            ),
        )
    return found


def draw(results: dict[str, Locality], subject: "Subject", folder: Path) -> None:
    """LDR and excess over noise levels, dependence matrices, decay with distance."""
    _draw_ldr(results, subject, folder)
    _draw_dependence(results, subject, folder)
    network = results["network"]
    with figure(folder / "decay", 5.5, 3.2) as canvas:
        ax = canvas.subplots()
        for name, result in results.items():
            plot_decay(result, ax, network.at(subject.level), **_style(name, subject))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _style(name: str, subject: "Subject") -> dict[str, Any]:
    style: dict[str, Any] = {
        "label": LABELS.get(name, subject.architecture),
        "color": COLORS[subject.architecture if name == "network" else name],
        "linestyle": LINES.get(name, "-"),
    }
    # The network lies on the product oracle when it is local: in front, and thicker.
    return style | ({"zorder": 3, "linewidth": 2.5} if name == "network" else {})


def _draw_ldr(results: dict[str, Locality], subject: "Subject", folder: Path) -> None:
    network, bayes = results["network"], results.get("bayes")
    with figure(folder / "ldr", 6.0, 5.0 if bayes else 3.5) as canvas:
        axes = canvas.subplots(
            *((2, 1) if bayes else (1, 1)),
            sharex=True,
            squeeze=False,
            height_ratios=[2, 1] if bayes else [1],
        ).flatten()
        for name, result in results.items():
            plot(result, axes[0], **_style(name, subject))
        regions = network.dependence.shape[-1]
        axes[0].axhline(1 / regions, color="0.6", lw=1, ls=":", label=f"no locality (1/{regions})")
        if bayes is not None:
            plot_excess(network, bayes, axes[1], color=COLORS[subject.architecture])
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


def _draw_dependence(results: dict[str, Locality], subject: "Subject", folder: Path) -> None:
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


def summary(results: dict[str, Locality]) -> dict[str, Any]:
    """Return LDR and excess LDR at every level."""
    network, bayes = results["network"], results.get("bayes")
    excesses = excess(network, bayes) if bayes is not None else None
    return {
        "variant": network.settings["variant"],
        "output": network.settings["output"],
        "levels": [
            {
                "t": t,
                "log_snr": network.log_snr[i].item(),
                "inputs": int(network.inputs[i]),
                "ldr": {
                    who: estimate(result.ldr[i], result.ldr_error[i])
                    for who, result in results.items()
                },
                "excess_ldr": estimate(excesses[0][i], excesses[1][i]) if excesses else None,
            }
            for i, t in enumerate(network.t.tolist())
        ],
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return LDR and excess where symbols form and at the subject's level, in words."""
    what = "the grammar is worth most" if subject.dataset else "the probes look"
    found = []
    for t, title in ((subject.forms_at, "symbols form"), (subject.level, what)):
        if t is None:
            continue
        level = next(row for row in content["levels"] if row["t"] == t)
        oracles = ", ".join(
            f"{who} {ldr['value']:.3f}" for who, ldr in level["ldr"].items() if who != "network"
        )
        found.append(f"where {title} (log-SNR {level['log_snr']:.2f}, t = {t})")
        found.append(f"  LDR         {interval(level['ldr']['network'])}; {oracles}".rstrip("; "))
        if level["excess_ldr"] is not None:
            found.append(f"  excess LDR  {interval(level['excess_ldr'])} over Bayes")
        else:
            found.append("  excess LDR  unknown: no grammar, so no optimum to compare with")
    return found
