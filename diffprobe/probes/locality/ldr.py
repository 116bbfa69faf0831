"""The local dependency ratio and the dependence matrix over noise levels.

    B_ij = ‖J_{region i, part j}‖_F² of one input      LDR = E [ sum_i B_ii / sum_ij B_ij ]

The parts j of the input are the regions and, where these do not tile the image, the rest. The name
is from Lu et al., arXiv:2503.03595, who define it as reliance on the local region; the norm is
stated by `variant`:

    squared          squared Frobenius norms (the default)
    frobenius        Frobenius norms per region
    l1               sums of absolute values

and the averaging is over inputs, the ratio taken for each: every input counts alike, the same ones
for a network and the optimum. The *pooled* ratio E sum_i B_ii / E sum_ij B_ij, which is told beside
it, weights an input by how much depends on it: network and optimum are then averaged over different
inputs, and the optimum's is ruled by the few at which a word is undecided, so that no interval
covers it. An input whose output depends on nothing has no ratio and is left out; beside the Bayes
oracle those at which it depends on nothing are left out for all.

The output whose Jacobian is meant is stated too. With J that of x0_hat,

    epsilon   eps_hat = (x_t - alpha x0_hat) / sigma       its Jacobian is (1 - alpha J) / sigma
    score     -eps_hat / sigma                             the same up to a factor: the same LDR

so that these two count what passes straight through as dependence on the own region: where
alpha J is small against 1, in much noise, their LDR is near 1 whatever J is.

A raw LDR proves nothing: the optimal denoiser of parity is itself almost local at high noise. The
headline is the excess LDR, network minus Bayes oracle, on the same inputs and projections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.locality import LocalityConfig
from diffprobe.probing.jacobian import (
    batches,
    estimated_energies,
    exact_energies,
    reverse_passes,
)
from diffprobe.probing.noise_levels import (
    check_images,
    input_sources,
    noisy_inputs,
    spread_levels,
)
from diffprobe.probing.output_space import in_space
from diffprobe.probing.precision import inputs_needed, levels_wanted, stated
from diffprobe.probing.ratio import (
    decay_with_distance,
    energy_shares,
    local_dependency_ratios,
    pooled_ratio,
    region_distances,
)
from diffprobe.probing.regions import Regions, default_regions


@dataclass(frozen=True, repr=False)
class Locality(Measurement):
    """LDR and dependence at T noise levels, from at most N inputs each.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,) log(alpha²/sigma²).
        inputs: (T,) long, number of noisy images.
        ratios: (T, N) the ratio of each input; NaN for one whose output depends on nothing, and
            for those that a level did not need.
        sources: (N,) long, the picture that each input was made from.
        ldr: (T,) their mean, the local dependency ratio.
        pooled: (T,) the ratio of the mean energies.
        effective: (T,) how many inputs the pooled ratio rests on in effect.
        dependence: (T, R, S) mean energy from input part j (column) to output region i (row).
        shares: (T, R, S) share of it in each input's whole, mean over inputs; the diagonal adds up
            to the LDR where `variant` is "squared".
        distances: (K,) distances between the centres of two regions, in pixels; the first is 0.
        decay: (T, K) mean share from a region that far away, relative to that from the own region.
        parts: S names: the regions, and the rest where they leave any.
        settings: Variant, output, number of inputs, projections (0 is exact), seed.
    """

    t: Tensor
    log_snr: Tensor
    inputs: Tensor
    ratios: Tensor
    sources: Tensor
    ldr: Interval
    pooled: Interval
    effective: Tensor
    dependence: Tensor
    shares: Interval
    distances: Tensor
    decay: Interval
    parts: tuple[str, ...]
    settings: dict[str, Any]

    def at(self, t: int) -> int:
        """Return the index of the level nearest `t`."""
        return int((self.t - t).abs().argmin())

    def among(self, told: Tensor) -> "Locality":
        """Return the same with the LDR over those inputs alone that are `told (T, N)`."""
        ratios = self.ratios.where(told, math.nan)
        return replace(self, ratios=ratios, ldr=_mean(ratios, self.sources))


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: LocalityConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    regions: Regions | None = None,
    levels: Tensor | None = None,
    include: Sequence[int] = (),
    inputs: Tensor | None = None,
    description: str = "locality",
    progress: Progress = silent,
) -> Locality:
    """Measure the LDR and the dependence matrix of a denoiser on noisy images.

    Memory: beside the Jacobian's, inputs × projections × R × S numbers of one level.

    Args:
        denoiser: A network or an oracle.
        images: Where the inputs come from.
        settings: `projections`, `variant`.
        common: `images`, `levels`, `output`, `batch_size`, `seed`. With a `precision`, the spread
            over the first inputs tells how many are needed for a standard error of the LDR that
            small, `precision_images` at most.
        regions: The cells of a dataset by default.
        levels: (T,) timesteps instead of `common.levels` spread ones.
        include: More timesteps to visit.
        inputs: (T,) inputs at each level, instead of those that the precision needs.
        description: What the progress bar says.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a number is out of range.
    """
    settings, common = settings or LocalityConfig(), common or ProbeConfig()
    check_images(common.images)
    regions = regions or default_regions(images)
    if levels is None:
        known = isinstance(images, SymbolImages)
        levels = spread_levels(denoiser, levels_wanted(common, grammar_known=known))
    if include:
        levels = torch.tensor(sorted({*levels.tolist(), *include}, reverse=True))
    distances, pairs = region_distances(regions)
    found = []
    for index, t in enumerate(progress(levels.tolist(), desc=description, unit="level")):
        wanted = None if inputs is None else int(inputs[index])
        energies = _energies(denoiser, images, settings, common, regions, t, wanted)
        sources = _sources(images, common, len(energies))
        found.append(_Level.of(energies, settings.variant, sources, pairs))
    counts = torch.tensor([len(level.ratios) for level in found])
    ratios = torch.full((len(levels), int(counts.max())), math.nan, dtype=torch.float64)
    for row, level in zip(ratios, found, strict=True):
        row[: len(level.ratios)] = level.ratios
    sources = _sources(images, common, int(counts.max()))
    return Locality(
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        inputs=counts,
        ratios=ratios,
        sources=sources,
        ldr=_mean(ratios, sources),
        pooled=intervals.stacked([level.pooled for level in found]),
        effective=torch.stack([level.effective for level in found]),
        dependence=torch.stack([level.dependence for level in found]),
        shares=intervals.stacked([level.shares for level in found]),
        distances=distances,
        decay=intervals.stacked([level.decay for level in found]),
        parts=regions.part_names,
        settings={
            "variant": settings.variant,
            "output": common.output,
            "images": common.images,
            "precision": common.precision,
            "projections": 0 if _is_exact(settings) else settings.projections,
            "seed": common.seed,
        },
    )


def excess(network: Locality, oracle: Locality) -> Interval:
    """Return LDR(network) − LDR(oracle) at each level: (T,).

    Over the inputs at which both are defined; the interval is that of the paired difference.

    Raises:
        UsageError: If levels, inputs or settings differ.
    """
    same = torch.equal(network.t, oracle.t) and torch.equal(network.inputs, oracle.inputs)
    if not same or network.settings != oracle.settings:
        raise UsageError("an excess LDR needs two measurements of the same levels and settings")
    return _mean(network.ratios - oracle.ratios, network.sources)


def cost(
    regions: Regions, settings: LocalityConfig, common: ProbeConfig, *, grammar_known: bool
) -> str:
    """Return in words what one noise level costs."""
    first = stated(common, grammar_known=grammar_known)
    inputs = f"{first.images:,} inputs"
    if first.precision:
        inputs += f", up to {first.precision_images:,} if the error needs them,"
    exact = _is_exact(settings)
    passes = reverse_passes(regions.masks, 0 if exact else settings.projections)
    how = "exactly" if exact else f"by {settings.projections} random projections a region"
    return (
        f"{passes:,} reverse passes {how}, for {inputs} in batches of "
        f"{min(common.images, common.batch_size):,}"
    )


@dataclass(frozen=True)
class _Level:
    """What the energies of one level say."""

    ratios: Tensor
    pooled: Interval
    effective: Tensor
    dependence: Tensor
    shares: Interval
    decay: Interval

    @classmethod
    def of(cls, energies: Tensor, variant: str, sources: Tensor, pairs: Tensor) -> "_Level":
        mean = energies.mean(1)
        by_input = energy_shares(energies)
        return cls(
            ratios=local_dependency_ratios(energies, variant),
            pooled=pooled_ratio(energies, variant, sources),
            effective=intervals.effective_number(mean.sum((1, 2)), sources),
            dependence=mean.mean(0),
            shares=intervals.mean(by_input.movedim(0, -1), sources, resolution=RESOLUTION),
            decay=decay_with_distance(by_input, pairs, sources),
        )


def _sources(images: SymbolImages | ImageSet, common: ProbeConfig, n: int) -> Tensor:
    return input_sources(images, common.images, common.seed, n // common.images)


def _mean(ratios: Tensor, sources: Tensor) -> Interval:
    return intervals.mean(ratios, sources, resolution=RESOLUTION)


def _is_exact(settings: LocalityConfig) -> bool:
    # Random projections estimate squares only.
    return settings.projections == 0 or settings.variant == "l1"


def _energies(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: LocalityConfig,
    common: ProbeConfig,
    regions: Regions,
    t: int,
    wanted: int | None,
) -> Tensor:
    """Return the energies of as many inputs as wanted, or as the precision needs: (N, P, R, S)."""
    asked = in_space(denoiser, common.output)
    found: list[Tensor] = []
    for block in range(10**6):
        x_t = noisy_inputs(denoiser, images, common.images, t, common.seed, block)
        for batch in batches(x_t, common.batch_size):
            if _is_exact(settings):
                power = 1 if settings.variant == "l1" else 2
                part = exact_energies(asked, batch, t, regions, power)[:, None]
            else:
                random = generator(common.seed, f"projections/{t}", len(found))
                part = estimated_energies(asked, batch, t, regions, settings.projections, random)
            found.append(part.cpu())
        energies = torch.cat(found)
        if wanted is None:
            wanted = common.images
            if common.precision:
                ratios = local_dependency_ratios(energies, settings.variant)
                wanted = inputs_needed(ratios, common)
        if len(energies) >= wanted:
            break
    return energies
