"""What far cells tell, and distances to the local optima, at levels from much noise to little.

A pool of draws at every level is the population; its means are the truth.
"""

from collections.abc import Iterator

import torch

from coverage_parts.table import Row, picks
from coverage_parts.worlds import World
from diffprobe.config import ProbeConfig
from diffprobe.probes.conditional_information import ConditionalInformationConfig
from diffprobe.probes.conditional_information.information import one_level, over_draws
from diffprobe.probing.noise_levels import spread_levels

DEFAULT = ConditionalInformationConfig()
POOL = 3000
NUMBERS = ("information", "missed by the local optimum", "distance to it", "missed by the network")


def rows(world: World, repeats: int) -> Iterator[Row]:
    """Yield the rows of a trained network at levels at which far cells tell something."""
    radius = 1
    levels = spread_levels(world.network, DEFAULT.levels)
    common = ProbeConfig(batch_size=500)
    for t in levels.tolist()[6:16:2]:
        pool = one_level(world.network, world.images, [radius], POOL, common, t)[:, 0]
        index = picks(POOL, repeats, DEFAULT.images)
        log_snr = float(world.network.log_snr(torch.tensor([t])))
        for what, draws in zip(NUMBERS, pool, strict=True):
            found = over_draws(draws[index])
            at = f"{world.name}, log-SNR {log_snr:.1f}"
            yield Row.of(at, f"{what}, radius {radius}", found, draws.mean())
