"""Sharpness of the denoising loss: of a trained network of two layers, and of an untrained one.

The truth is the mean over many measurements with more images each, and other seeds.
"""

from collections.abc import Iterator

import torch

from coverage_parts.table import Row
from coverage_parts.worlds import SCHEDULER, fit
from diffprobe.config import ProbeConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import intervals
from diffprobe.models import BayesDenoiser, NetworkDenoiser
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.probes.sharpness import SharpnessConfig
from diffprobe.probes.sharpness.traces import Sharpness, measure

WORLD = hypercube(ParityConfig(4).build())
ASKED = SharpnessConfig(images=64, levels=3, values=2, iterations=8)
MANY = SharpnessConfig(images=4096, levels=3, values=2, iterations=24, projections=4)
TRUTHS = 8  # measurements that make the truth


def rows(repeats: int) -> Iterator[Row]:
    """Yield the rows of each number over all levels, and of each at a level."""
    for name, steps in (("untrained", 0), ("trained", 1500)):
        denoiser = _network(steps)
        truths = [_numbers(_measure(denoiser, MANY, 10**6 + i)) for i in range(TRUTHS)]
        found = [_numbers(_measure(denoiser, ASKED, seed)) for seed in range(repeats)]
        for number in found[0]:
            told = intervals.stacked([each[number] for each in found])
            truth = torch.stack([each[number].value for each in truths]).mean()
            yield Row.of(f"parity 4, {name}", f"sharpness, {number}", told, truth)


def _measure(denoiser: NetworkDenoiser, settings: SharpnessConfig, seed: int) -> Sharpness:
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    return measure(denoiser, WORLD, settings, ProbeConfig(seed=seed), bayes=bayes)


def _numbers(found: Sharpness) -> dict[str, intervals.Interval]:
    """Each number, those at a level at the least noise."""
    return {
        name: value[-1] if name.endswith("level") else value
        for name, value in found.numbers().items()
    }


def _network(steps: int) -> NetworkDenoiser:
    torch.manual_seed(0)
    return fit(MLPConfig(width=32).build(WORLD.image_shape), WORLD, steps, rate=3e-3)
