"""The population loss of a two-layer network, and how far it is on its way to the optimum."""

from collections.abc import Iterator

import torch

from coverage_parts.table import Row
from coverage_parts.worlds import SCHEDULER
from diffprobe.config import ProbeConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import intervals
from diffprobe.models import NetworkDenoiser
from diffprobe.models.modules.mlp import MLP
from diffprobe.probes.two_layer import TwoLayerConfig
from diffprobe.probes.two_layer.losses import measure

WORLD = hypercube(ParityConfig(4).build())
LEVELS = torch.tensor([300, 172])
TRUTH = 16_384  # draws of the noise


def rows(repeats: int) -> Iterator[Row]:
    """Yield the loss at each level, and the way gained, of an untrained network."""
    torch.manual_seed(0)
    denoiser = NetworkDenoiser(MLP(WORLD.image_shape, 16, 4), SCHEDULER)
    many = TwoLayerConfig(draws=TRUTH)
    truth = measure(denoiser, WORLD, many, ProbeConfig(seed=10**6), levels=LEVELS)
    found = [
        measure(denoiser, WORLD, common=ProbeConfig(seed=seed), levels=LEVELS)
        for seed in range(repeats)
    ]
    for index in range(len(LEVELS)):
        for name in ("loss", "to_product"):
            told = intervals.stacked([getattr(f, name)[0, index] for f in found])
            where = f"parity 4, {truth.log_snr[index]:.2f}"
            expected = getattr(truth, name).value[0, index]
            yield Row.of(where, f"two layers, {name.replace('_', ' ')}", told, expected)
    gained = intervals.stacked([f.gained[0] for f in found])
    yield Row.of("parity 4", "two layers, way gained", gained, truth.gained.value[0])
