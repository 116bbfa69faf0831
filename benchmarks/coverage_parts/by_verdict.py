"""What valid and invalid samples are, and by how much they differ: of a pool of samples.

The samples of a pool are the population; the truth is from many projections, and a measurement is
some of the samples with the projections that the probe makes by default.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from coverage_parts.placement import Blend
from coverage_parts.table import Row, picks
from coverage_parts.worlds import World
from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.foundations import intervals
from diffprobe.probes.detectors import DetectorsConfig
from diffprobe.probes.detectors.by_verdict import QUANTITIES, compare
from diffprobe.probes.detectors.scores import measure

DEFAULT = DetectorsConfig()
COMMON = ProbeConfig(batch_size=500)
MANY = 32  # projections of the truth
DRAWS = 6  # of the usual projections for each sample, so that it is not their noise's pool


def rows(world: World, pool: int, repeats: int) -> Iterator[Row]:
    """Yield the rows of a denoiser of which some samples are valid and some are not."""
    denoiser = Blend(world, gamma=0.3, error=0.03)
    settings = replace(DEFAULT, samples=pool, renoisings=1)
    sampling = SamplingConfig(steps=25, batch_size=500)
    exact, *told = (
        measure(denoiser, world.images, asked, common, t=world.level, sampling=sampling)
        for asked, common in (
            (replace(settings, projections=MANY), COMMON),
            *((settings, replace(COMMON, seed=1 + draw)) for draw in range(DRAWS)),
        )
    )
    valid, invalid = exact.grammatical, exact.legible & ~exact.grammatical
    truth = compare(exact.each, valid, invalid)
    each_draw = {name: torch.cat([one.each[name] for one in told]) for name in exact.each}
    valid, invalid = valid.repeat(DRAWS), invalid.repeat(DRAWS)
    for n in (100, DEFAULT.samples):
        found = [
            compare({k: v[i] for k, v in each_draw.items()}, valid[i], invalid[i])
            for i in picks(pool * DRAWS, repeats, n)
        ]
        for quantity in (each for each in QUANTITIES if each != "bayes_ldr"):  # tells no interval
            for verdict in ("valid", "invalid", "difference"):
                each = intervals.stacked([f[quantity][verdict] for f in found])
                what = f"{quantity}, {verdict}, n = {n:,}"
                yield Row.of(f"{world.name}, gamma 0.3", what, each, truth[quantity][verdict].value)
