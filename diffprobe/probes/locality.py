"""The local dependency ratio and the dependence matrix over noise levels.

    B[i, j] = E ‖J_{cell i, cell j}‖_F²          LDR = E sum_i B[i, i] / E sum_ij B[i, j]

The name is from Lu et al., arXiv:2503.03595, who define it as reliance on the local region; the
norm is stated by `variant`:

    squared          squared Frobenius norms, pooled over inputs (the default)
    frobenius        Frobenius norms per cell, pooled
    l1               sums of absolute values, pooled
    mean-of-ratios   squared norms, the ratio taken for each input and then averaged

A raw LDR proves nothing: the optimal denoiser of parity is itself almost local at high noise. The
headline is the excess LDR, network minus Bayes oracle, on the same inputs and projections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import batches, estimated_energies, exact_energies
from diffprobe.probes.noise_levels import noisy_inputs, spread_levels
from diffprobe.probes.regions import cell_regions
from diffprobe.progress import Progress, silent
from diffprobe.seeding import generator

# Energy per cell below which an output depends on nothing, and asking on what makes no sense: an
# oracle of few glyphs is a constant at low noise. An identity has one unit per pixel.
NO_DEPENDENCE = 1e-6


@dataclass(frozen=True)
class Locality:
    """LDR and dependence at T noise levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,) log(alpha²/sigma²).
        ldr: (T,) local dependency ratio; NaN where the output depends on nothing.
        ldr_error: (T,) its standard error over inputs and projections.
        dependence: (T, L, L) mean energy from input cell j (column) to output cell i (row).
        dependence_error: (T, L, L) its standard error.
        influence: (T, N) of each input on the LDR; its standard deviation over sqrt(N) is the
            error, and that of a difference of two is the error of an excess.
        settings: Variant, number of inputs, projections (0 is exact), seed.
    """

    t: Tensor
    log_snr: Tensor
    ldr: Tensor
    ldr_error: Tensor
    dependence: Tensor
    dependence_error: Tensor
    influence: Tensor
    settings: dict[str, Any]

    def at(self, t: int) -> int:
        """Return the index of the level nearest `t`."""
        return int((self.t - t).abs().argmin())


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    include: Sequence[int] = (),
    description: str = "locality",
    progress: Progress = silent,
) -> Locality:
    """Measure the LDR and the dependence matrix of a denoiser on noisy images of valid words.

    Args:
        denoiser: A network or an oracle.
        dataset: Where the inputs come from, and whose cells are the regions.
        config: Inputs, levels, projections, variant, batch size, seed.
        levels: (T,) timesteps instead of `config.levels` spread ones.
        include: More timesteps to visit.
        description: What the progress bar says.
        progress: Called as tqdm is.
    """
    config = config or ProbeConfig()
    if config.images < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {config.images}")
    levels = spread_levels(denoiser, config.levels) if levels is None else levels
    if include:
        levels = torch.tensor(sorted({*levels.tolist(), *include}, reverse=True))
    ratios = []
    dependence = []
    for t in progress(levels.tolist(), desc=description, unit="level"):
        energies = _energies(denoiser, dataset, config, t)
        ratios.append(local_dependency_ratio(energies, config.variant))
        dependence.append((energies.mean(0), energies.std(0) / len(energies) ** 0.5))
    return Locality(
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        ldr=torch.tensor([r[0] for r in ratios]),
        ldr_error=_standard_error(influence := torch.stack([r[1] for r in ratios])),
        dependence=torch.stack([d[0] for d in dependence]),
        dependence_error=torch.stack([d[1] for d in dependence]),
        influence=influence,
        settings={
            "variant": config.variant,
            "images": config.images,
            "projections": 0 if _is_exact(config) else config.projections,
            "seed": config.seed,
        },
    )


def excess(network: Locality, oracle: Locality) -> tuple[Tensor, Tensor]:
    """Return LDR(network) − LDR(oracle) at each level, and its standard error.

    Both must be measured on the same inputs; the error is that of the paired difference.

    Raises:
        UsageError: If levels or settings differ.
    """
    if not torch.equal(network.t, oracle.t) or network.settings != oracle.settings:
        raise UsageError("an excess LDR needs two measurements of the same levels and settings")
    return network.ldr - oracle.ldr, _standard_error(network.influence - oracle.influence)


def local_dependency_ratio(energies: Tensor, variant: str = "squared") -> tuple[float, Tensor]:
    """Return the LDR over all cells, and the influence of each input on it.

    Args:
        energies: (N, L, L) of N inputs, output cell by input cell; squared norms, or sums of
            absolute values for the variant l1.
        variant: See the module's text.

    Returns:
        The ratio, and (N,) influences: first-order changes of the ratio, times N.
    """
    if variant == "frobenius":
        local = energies.diagonal(dim1=1, dim2=2).sqrt().sum(1)
        everything = energies.sum(2).sqrt().sum(1)
    else:
        local = energies.diagonal(dim1=1, dim2=2).sum(1)
        everything = energies.sum((1, 2))
    if everything.mean() <= NO_DEPENDENCE * energies.shape[1]:
        return math.nan, torch.full_like(local, math.nan)
    if variant == "mean-of-ratios":
        ratios = local / everything
        return ratios.mean().item(), ratios - ratios.mean()
    ratio = local.sum() / everything.sum()
    return ratio.item(), (local - ratio * everything) / everything.mean()


def _standard_error(influence: Tensor) -> Tensor:
    n = influence.shape[-1]
    return influence.square().sum(-1).div(n * (n - 1)).sqrt()


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
        xlabel="input cell",
        ylabel="output cell",
        xticks=ticks,
        yticks=ticks,
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


def _energies(denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig, t: int) -> Tensor:
    regions = cell_regions(dataset)
    _, x_t = noisy_inputs(denoiser, dataset, config.images, t, config.seed)
    found = []
    for index, batch in enumerate(batches(x_t, config.batch_size)):
        if _is_exact(config):
            power = 1 if config.variant == "l1" else 2
            found.append(exact_energies(denoiser, batch, t, regions, power))
        else:
            random = generator(config.seed, f"projections/{t}", index)
            found.append(
                estimated_energies(denoiser, batch, t, regions, config.projections, random)
            )
    return torch.cat(found).cpu()
