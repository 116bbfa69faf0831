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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import (
    batches,
    estimated_energies,
    exact_energies,
    reverse_passes,
)
from diffprobe.probes.locality_figures import draw_all
from diffprobe.probes.locality_figures import plot as plot
from diffprobe.probes.locality_figures import plot_decay as plot_decay
from diffprobe.probes.locality_figures import plot_dependence as plot_dependence
from diffprobe.probes.locality_figures import plot_excess as plot_excess
from diffprobe.probes.noise_levels import input_sources, noisy_inputs, spread_levels
from diffprobe.probes.output_space import in_space
from diffprobe.probes.ratio import (
    decay_with_distance,
    energy_shares,
    local_dependency_ratios,
    pooled_ratio,
    region_distances,
)
from diffprobe.probes.regions import Regions, default_regions

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

    Memory: beside the Jacobian's, inputs × projections × R × S numbers of one level.

    Args:
        denoiser: A network or an oracle.
        images: Where the inputs come from.
        config: Inputs, levels, projections, variant, output, batch size, seed. With a `precision`,
            the spread over the first `images` inputs tells how many are needed for a standard error
            of the LDR that small, `precision_images` at most.
        regions: The cells of a dataset by default.
        levels: (T,) timesteps instead of `config.levels` spread ones.
        include: More timesteps to visit.
        inputs: (T,) inputs at each level, instead of those that the precision needs.
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
    found = []
    for index, t in enumerate(progress(levels.tolist(), desc=description, unit="level")):
        wanted = None if inputs is None else int(inputs[index])
        energies = _energies(denoiser, images, config, regions, t, wanted)
        found.append(_Level.of(energies, config, images, pairs))
    counts = torch.tensor([len(level.ratios) for level in found])
    ratios = torch.full((len(levels), int(counts.max())), math.nan, dtype=torch.float64)
    for row, level in zip(ratios, found, strict=True):
        row[: len(level.ratios)] = level.ratios
    sources = _sources(images, config, int(counts.max()))
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


def inputs_needed(values: Tensor, precision: float, config: ProbeConfig) -> int:
    """Return how many inputs make the standard error of a mean as small as `precision`.

    In whole blocks of `config.images`, told from one block whose `values (N,)` may hold NaN. These
    are Stein's two stages: the number depends on the spread of a first sample alone, and not on how
    the mean turns out, as it would if inputs were added until the error looked small.

    Reference:
        Stein, "A two-sample test for a linear hypothesis whose power is independent of the
        variance", 1945.
    """
    known = values[values.isfinite()]
    error = known.std().item() / len(known) ** 0.5 if len(known) > 1 else 0.0
    wanted = max((error / precision) ** 2 * len(values), intervals.FEWEST)
    blocks = math.ceil(min(wanted, config.precision_images) / config.images)
    return max(1, blocks) * config.images


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
    def of(
        cls,
        energies: Tensor,
        config: ProbeConfig,
        images: SymbolImages | ImageSet,
        pairs: Tensor,
    ) -> "_Level":
        sources = _sources(images, config, len(energies))
        mean = energies.mean(1)
        by_input = energy_shares(energies)
        return cls(
            ratios=local_dependency_ratios(energies, config.variant),
            pooled=pooled_ratio(energies, config.variant, sources),
            effective=intervals.effective_number(mean.sum((1, 2)), sources),
            dependence=mean.mean(0),
            shares=intervals.mean(by_input.movedim(0, -1), sources, resolution=RESOLUTION),
            decay=decay_with_distance(by_input, pairs, sources),
        )


def _sources(images: SymbolImages | ImageSet, config: ProbeConfig, n: int) -> Tensor:
    return input_sources(images, config.images, config.seed, n // config.images)


def _mean(ratios: Tensor, sources: Tensor) -> Interval:
    return intervals.mean(ratios, sources, resolution=RESOLUTION)


def _is_exact(config: ProbeConfig) -> bool:
    # Random projections estimate squares only.
    return config.projections == 0 or config.variant == "l1"


def _check(config: ProbeConfig) -> None:
    if config.images < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {config.images}")
    if config.precision < 0:
        raise UsageError(f"probe.precision must not be negative, but it is {config.precision}")
    if config.projections == 1:
        raise UsageError(
            "probe.projections must be at least 2, whose spread takes the bias of a ratio away, or "
            "0 for the exact Jacobian"
        )


def _energies(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig,
    regions: Regions,
    t: int,
    wanted: int | None,
) -> Tensor:
    """Return the energies of as many inputs as wanted, or as the precision needs: (N, P, R, S)."""
    asked = in_space(denoiser, config.output)
    found: list[Tensor] = []
    for block in range(10**6):
        x_t = noisy_inputs(denoiser, images, config.images, t, config.seed, block)
        for batch in batches(x_t, config.batch_size):
            if _is_exact(config):
                power = 1 if config.variant == "l1" else 2
                part = exact_energies(asked, batch, t, regions, power)[:, None]
            else:
                random = generator(config.seed, f"projections/{t}", len(found))
                part = estimated_energies(asked, batch, t, regions, config.projections, random)
            found.append(part.cpu())
        energies = torch.cat(found)
        if wanted is None:
            wanted = config.images
            if config.precision:
                ratios = local_dependency_ratios(energies, config.variant)
                wanted = inputs_needed(ratios, config.precision, config)
        if len(energies) >= wanted:
            break
    return energies


# ---- in the suite -------------------------------------------------------------------------------


def probe(subject: "Subject", keep: "Keep") -> dict[str, Locality]:
    """Measure network and oracles on the same inputs.

    With a precision, on as many as network, Bayes oracle and their difference need.
    """
    include = tuple(sorted({subject.level, *filter(None, [subject.forms_at])}))

    def one(name: str, denoiser: Denoiser, part: str, inputs: Tensor | None) -> Locality:
        config = subject.config.probe
        compute = partial(
            measure,
            denoiser,
            subject.images,
            config if inputs is not None else replace(config, precision=0.0),
            regions=subject.regions,
            include=include,
            inputs=inputs,
            description=f"locality, {name}",
            progress=subject.progress,
        )
        return keep(part, Locality, compute)

    inputs = None
    if subject.config.probe.precision:
        first = [
            one(name, denoiser, f"{name}-first", None)
            for name, denoiser in subject.beside("bayes").items()
        ]
        inputs = _needed_by_all(first, subject.config.probe)
    found: dict[str, Locality] = {}
    for name, denoiser in {"network": subject.denoiser, **subject.oracles}.items():
        if name == "empirical" and denoiser is subject.oracles.get("bayes"):
            found[name] = found["bayes"]
        else:
            found[name] = one(name, denoiser, name, inputs)
    return found


def _needed_by_all(first: list[Locality], config: ProbeConfig) -> Tensor:
    """How many inputs each level needs for every LDR and, of two, their difference: (T,)."""
    ratios = [result.ratios for result in first]
    if len(first) == 2:
        ratios.append(ratios[0] - ratios[1])
    return torch.tensor(
        [
            max(inputs_needed(row, config.precision, config) for row in rows)
            for rows in zip(*ratios, strict=True)
        ]
    )


def beside_the_optimum(results: dict[str, Locality]) -> dict[str, Locality]:
    """Return the measurements with every LDR over the inputs at which Bayes depends on anything."""
    if "bayes" not in results:
        return results
    told = results["bayes"].ratios.isfinite()
    return {name: result.among(told) for name, result in results.items()}


def draw(results: dict[str, Locality], subject: "Subject", folder: Path) -> None:
    """LDR and excess over noise levels, dependence matrices, decay with distance."""
    compared = beside_the_optimum(results)
    gap = excess(compared["network"], compared["bayes"]) if "bayes" in compared else None
    draw_all(compared, gap, subject, folder)


def summary(results: dict[str, Locality]) -> dict[str, Any]:
    """Return LDR and excess LDR at every level, and the pooled ratios beside them."""
    results = beside_the_optimum(results)
    network, bayes = results["network"], results.get("bayes")
    gap = excess(network, bayes) if bayes is not None else None
    return {
        "variant": network.settings["variant"],
        "averaging": "the ratio of each input, mean over inputs",
        "output": network.settings["output"],
        "levels": [
            {
                "t": t,
                "log_snr": network.log_snr[i].item(),
                "inputs": int(network.inputs[i]),
                "ldr": {who: estimate(result.ldr, i) for who, result in results.items()},
                "excess_ldr": estimate(gap, i) if gap is not None else None,
                "pooled_ldr": {
                    who: {**estimate(r.pooled, i), "effective_inputs": r.effective[i].item()}
                    for who, r in results.items()
                },
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
        ldr = level["ldr"]
        n = f"n = {ldr['network']['n']}"
        if ldr["network"]["n"] < level["inputs"]:
            n += f" of {level['inputs']} inputs"
        oracles = ", ".join(f"{who} {interval(e)}" for who, e in ldr.items() if who != "network")
        found.append(f"where {title} (log-SNR {level['log_snr']:.2f}, t = {t}, {n})")
        found.append(f"  LDR         {interval(ldr['network'])}; {oracles}".rstrip("; "))
        if level["excess_ldr"] is not None:
            found.append(f"  excess LDR  {interval(level['excess_ldr'])} over Bayes")
        else:
            found.append("  excess LDR  unknown: no grammar, so no optimum to compare with")
    return found
