"""Locality, sensitivity, intervention, spectrum: of trained networks and of the oracles.

A pool of inputs is the population: its exact Jacobians give the truth, and a measurement is N
inputs drawn from it, with the projections that a probe makes by default.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from coverage_parts.table import Row, picks
from coverage_parts.worlds import World
from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.seeding import generator
from diffprobe.models import Denoiser
from diffprobe.probes.intervention import InterventionConfig
from diffprobe.probes.intervention.changes import changes
from diffprobe.probes.locality import LocalityConfig
from diffprobe.probes.spectrum import SpectrumConfig
from diffprobe.probes.spectrum.singular_values import measure
from diffprobe.probing.jacobian import estimated_energies, exact_energies
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.precision import inputs_needed, stated
from diffprobe.probing.ratio import (
    decay_with_distance,
    energy_shares,
    local_dependency_ratios,
    pooled_ratio,
    region_distances,
)
from diffprobe.probing.regions import Regions

DEFAULT = ProbeConfig()
BATCH = 1000
PRECISION = replace(DEFAULT, precision=0.004)
# As of a network without a grammar, of which no optimum is known.
SMALL_START = stated(DEFAULT, grammar_known=False)
DRAWS = 6  # of the projections for each input of the pool, so that it is not their noise's pool


def rows(world: World, repeats: int) -> Iterator[Row]:
    """Yield the rows of one world, level by level."""
    regions = Regions.cells(world.images)
    for t in world.levels:
        x_t = noisy_inputs(world.network, world.images, world.pool, t, 1)
        name = world.at(t)
        truth, told = {}, {}
        for who, denoiser in world.denoisers.items():
            exact, estimated = _energies(denoiser, x_t, t, regions, world.exact)
            truth[who] = local_dependency_ratios(exact).repeat(DRAWS)
            told[who] = local_dependency_ratios(estimated)
            if who == "bayes":
                yield from _matrix(name, exact, estimated, regions, repeats)
        # As the suite does: all of them where the optimum depends on anything.
        among = told["bayes"].isfinite()
        index = picks(len(among), repeats, DEFAULT.images)
        for who in truth:
            found = _mean(told[who].where(among, torch.nan)[index])
            expected = truth[who].where(truth["bayes"].isfinite(), torch.nan).nanmean()
            yield Row.of(name, f"LDR, {who}", found, expected)
        alone, _ = _to_a_precision(told["network"], index, SMALL_START)
        what = f"LDR, network, from {SMALL_START.images} inputs on"
        yield Row.of(name, what, alone, truth["network"].nanmean())
        gap = truth["network"] - truth["bayes"]
        found = _mean((told["network"] - told["bayes"])[index])
        yield Row.of(name, "excess LDR", found, gap.nanmean())


def _matrix(
    name: str, exact: Tensor, estimated: Tensor, regions: Regions, repeats: int
) -> Iterator[Row]:
    """The pooled ratio, the dependence matrix and its decay, of the Bayes oracle."""
    index = picks(len(estimated), repeats, DEFAULT.images)
    whole = exact.mean(1)
    local = whole.diagonal(dim1=1, dim2=2).sum()
    ratios, true_ratio = (
        local_dependency_ratios(estimated),
        local_dependency_ratios(exact).nanmean(),
    )
    enough, more = _to_a_precision(ratios, index, PRECISION)
    if more > 0.1:  # else the first block was enough for nearly all
        yield Row.of(name, f"LDR, bayes, --precision {PRECISION.precision}", enough, true_ratio)
    # One region's share of its own row is its sensitivity map's share inside.
    own, true_own = (local_dependency_ratios(e[:, :, :1]) for e in (estimated, exact))
    yield Row.of(
        name, "sensitivity share of region 0, bayes", _mean(own[index]), true_own.nanmean()
    )
    found = [pooled_ratio(estimated[i], "squared") for i in index]
    yield Row.of(name, "pooled LDR, bayes", intervals.stacked(found), local / whole.sum())
    true_shares, shares = energy_shares(exact), energy_shares(estimated)
    for i, j in ((0, 0), (0, 1)):
        found = _mean(shares[:, i, j][index])
        yield Row.of(
            name, f"dependence share {i}, {j}, bayes", found, true_shares[:, i, j].nanmean()
        )
    _, pairs = region_distances(regions)
    truth = decay_with_distance(true_shares, pairs).value
    decay = intervals.stacked([decay_with_distance(shares[i], pairs) for i in index])
    for k in (1, len(pairs) - 1):
        yield Row.of(name, f"decay at distance {k} of {len(pairs) - 1}", decay[:, k], truth[k])


def _to_a_precision(ratios: Tensor, index: Tensor, common: ProbeConfig) -> tuple[Interval, float]:
    """As many inputs as the first block asks for, and how often these are more."""
    random = torch.Generator().manual_seed(4)
    found, more = [], 0
    for first in index[:, : common.images]:
        wanted = inputs_needed(ratios[first], common)
        others = torch.randint(len(ratios), (wanted - len(first),), generator=random)
        more += wanted > len(first)
        found.append(_mean(ratios[torch.cat([first, others])]))
    return intervals.stacked(found), more / len(index)


def _mean(values: Tensor) -> Interval:
    return intervals.mean(values, resolution=RESOLUTION)


def _energies(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Regions, exact: bool
) -> tuple[Tensor, Tensor]:
    """The energies exactly, or from many projections; and, `DRAWS` times, from as many as usual."""
    random = generator(1, f"coverage/{t}")
    true = []
    for batch in x_t.split(BATCH):
        if exact:
            true.append(exact_energies(denoiser, batch, t, regions)[:, None])
        else:
            true.append(estimated_energies(denoiser, batch, t, regions, 16, random))
    estimated = [_estimated(denoiser, x_t, t, regions, random) for _ in range(DRAWS)]
    return torch.cat(true), torch.cat(estimated)


def _estimated(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Regions, random: torch.Generator
) -> Tensor:
    return torch.cat(
        [
            estimated_energies(denoiser, batch, t, regions, LocalityConfig().projections, random)
            for batch in x_t.split(BATCH)
        ]
    )


def others(world: World, repeats: int) -> Iterator[Row]:
    """Yield the rows of interventions, sensitivity and spectrum at the world's own level."""
    t, name = world.level, world.at(world.level)
    for who, denoiser in world.denoisers.items():
        for kind in ("noise", "symbol"):
            common = ProbeConfig(batch_size=BATCH)
            regions = Regions.cells(world.images)
            changed = changes(
                denoiser, world.images, world.pool, common, t=t, kind=kind, regions=regions
            )
            pool = local_dependency_ratios(changed[:, None])
            index = picks(len(pool), repeats, InterventionConfig().images)
            yield Row.of(name, f"intervention, {kind}, {who}", _mean(pool[index]), pool.nanmean())
        settings, common = SpectrumConfig(images=min(world.pool, 1000)), ProbeConfig(seed=1)
        result = measure(denoiser, world.images, settings, common, t=t)
        more = replace(settings, projections=128, iterations=1, values=1)
        better = measure(denoiser, world.images, more, common, t=t)
        index = picks(len(result.values), repeats, SpectrumConfig().images)
        for what, pool, true in (
            ("largest singular value", result.largest, result.largest),
            ("asymmetry", result.asymmetry, better.asymmetry),
            ("effective rank", result.effective_rank, better.effective_rank),
        ):
            yield Row.of(name, f"{what}, {who}", _mean(pool[index]), true.nanmean())


def reused(world: World, repeats: int, pictures: int = 20) -> Iterator[Row]:
    """Yield the LDR of few pictures, each noised several times."""
    t, copies = world.level, 64
    regions = Regions.cells(world.images)
    random = torch.Generator().manual_seed(2)
    x_0 = world.images.draw_images(500, random)
    alpha, sigma = world.network.alpha_sigma(torch.tensor([t]))
    each = x_0.repeat_interleave(copies, 0)
    x_t = alpha * each + sigma * torch.randn(each.shape, generator=random)
    energies = _estimated(world.network, x_t, t, regions, random)
    ratios = local_dependency_ratios(energies).reshape(500, copies)
    truth = ratios.nanmean()
    found = []
    for drawn in picks(500, repeats, pictures):
        sources = torch.arange(DEFAULT.images) % pictures
        which = torch.randint(copies, (DEFAULT.images,), generator=random)
        found.append(intervals.mean(ratios[drawn[sources], which], sources, resolution=RESOLUTION))
    what = f"LDR, network, {pictures} pictures"
    yield Row.of(world.at(t), what, intervals.stacked(found), truth)
