"""Effects of patching a transformer trained for a moment, its answers, and where its heads look.

A pool of pairs of words, two draws of noise each, is the population. Repeats draw as many pairs
from it as the probe does by default.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from coverage_parts.table import Row, picks
from coverage_parts.worlds import SCHEDULER, World, fit
from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals
from diffprobe.models import BayesDenoiser
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.probes.patching import CORRUPTED, MEAN, PatchingConfig, attention
from diffprobe.probes.patching.components import components_of
from diffprobe.probes.patching.effects import PLACES, SCALES, by_place, pixels_of, share_of_way
from diffprobe.probes.patching.pairs import draw_pairs
from diffprobe.probes.patching.replacing import Replacing
from diffprobe.probing.regions import Regions

DEFAULT = PatchingConfig()
PARTS = ("blocks.0:head0", "blocks.0.project", "blocks.1.mlp")
KINDS = (CORRUPTED, MEAN)


@torch.no_grad()
def rows(world: World, pool: int, repeats: int) -> Iterator[Row]:
    """Yield the rows of some parts at the level where the grammar is worth most."""
    cells, bayes, t = (
        Regions.cells(world.images),
        BayesDenoiser(world.images, SCHEDULER),
        world.level,
    )
    with torch.enable_grad():
        torch.manual_seed(0)
        shape = TransformerConfig(patch=world.images.glyphs.cell, width=32, depth=2, heads=2)
        network = fit(shape.build(world.images.image_shape), world.images, 600, rate=3e-3)
    parts = components_of(network, (), cells)
    common = ProbeConfig(batch_size=500)
    pairs = draw_pairs(world.images, cells, pool, DEFAULT.noises, seed=0)
    runs = Replacing(network, bayes, pairs, parts, cells, KINDS, common)
    moved, ways, _ = runs.products(t)
    above = by_place(moved, pairs.cell)  # (places, scales, replacements, parts, N)
    below = by_place(ways, pairs.cell)
    pixels = pixels_of(pairs, cells)
    names = [part.name for part in parts.parts]
    index = picks(pool, repeats, DEFAULT.images)
    chosen = index.repeat_interleave(DEFAULT.noises, 1) * DEFAULT.noises
    chosen += torch.arange(DEFAULT.noises).repeat(DEFAULT.images)
    sources = torch.arange(DEFAULT.images).repeat_interleave(DEFAULT.noises)
    at = world.at(t)

    def told(what: str, over: Tensor, under: Tensor, place: int) -> Row:
        truth = share_of_way(over, under, pairs.sources, pixels[place]).value
        found = share_of_way(over[chosen], under[chosen], sources, pixels[place])
        return Row.of(at, what, found, truth)

    for name in PARTS:
        c = names.index(name)
        for k, kind in enumerate(KINDS):
            for s, scale in enumerate(SCALES):
                for p in (1, 2):
                    what = f"patching, {kind}, {PLACES[p]}, {scale}"
                    yield told(what, above[p, s, k, c], below[p, s], p)
    whole, others = below[0, 0].sqrt(), below[2, 0].sqrt()
    truth = others.sum() / whole.sum()
    found = intervals.ratio(others[chosen], whole[chosen], sources, resolution=1e-3)
    yield Row.of(at, "patching, reach", found, truth)
    heads = attention.recorded_maps(network, pairs, parts.looking, t, common, cells)
    energies = attention.dependence_of(bayes, pairs, t, common, cells)
    agreement = attention.agreement(torch.cat(list(heads.values()), 1), energies)
    for head in agreement.T:
        found = intervals.mean(head[chosen], sources)
        yield Row.of(at, "patching, agreement of a head", found, head.nanmean())
