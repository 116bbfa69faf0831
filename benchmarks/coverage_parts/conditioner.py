"""Conditioner locality: of the optimum told how words begin, and of a network that is told them.

The inputs of a pool are the population; the truth of the Jacobian is from many projections, and a
measurement is some of the inputs with as many projections as the probe takes by default.
"""

from collections.abc import Iterator
from functools import partial

import torch

from coverage_parts.table import Row, picks
from coverage_parts.worlds import SCHEDULER
from diffprobe.config import ProbeConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.condition import WordConditions
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION
from diffprobe.foundations.seeding import generator
from diffprobe.models import BayesDenoiser, NetworkDenoiser
from diffprobe.models.modules.transformer import StripTransformer
from diffprobe.models.told import tell
from diffprobe.probes.conditioner import ConditionerConfig
from diffprobe.probes.conditioner.beside import other_tokens
from diffprobe.probes.conditioner.listening import (
    jacobian_energies,
    replaced_energies,
    tokens_in_effect,
)
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.ratio import local_dependency_ratios
from diffprobe.probing.regions import Regions

WORLD = hypercube(DyckConfig(6).build())
CONDITIONS = WordConditions(WORLD.grammar, 3)
LEVEL, MANY, DRAWS = 500, 64, 4
DEFAULT = ProbeConfig().images


def rows(pool: int, repeats: int) -> Iterator[Row]:
    """Yield the rows of the share of the own token and of the tokens in effect."""
    words = WORLD.grammar.sample(pool, generator(0, "words"))
    told = CONDITIONS.of(words, generator(0, "told"))
    others = other_tokens(CONDITIONS, told, generator(0, "others"))
    regions = Regions.cells(WORLD)
    bayes, network = BayesDenoiser(WORLD, SCHEDULER), _network()
    x_t = noisy_inputs(bayes, WORLD, pool, LEVEL, 0)
    for who, denoiser in (("bayes", bayes), ("network", network)):
        telling = partial(tell, denoiser, conditions=CONDITIONS)
        energies = replaced_energies(telling, x_t, LEVEL, told, others, regions)
        yield from _of(f"replaced, {who}", energies, energies, repeats)
    asked = partial(
        jacobian_energies,
        partial(tell, network),
        x_t,
        LEVEL,
        network.network.embedding(told).detach(),  # type: ignore[operator]
        regions,
    )
    random, usual = generator(0, "projections"), ConditionerConfig().projections
    draws = [asked(usual, random) for _ in range(DRAWS)]
    yield from _of("jacobian, network", asked(MANY, random), torch.cat(draws), repeats)


def _of(what: str, exact: torch.Tensor, measured: torch.Tensor, repeats: int) -> Iterator[Row]:
    index = picks(len(measured), repeats, DEFAULT)
    for number, function in (
        ("own token", local_dependency_ratios),
        ("tokens in effect", tokens_in_effect),
    ):
        truth, each = function(exact).nanmean(), function(measured)
        found = intervals.mean(each[index], resolution=RESOLUTION)
        yield Row.of("brackets, 3 of 6 cells told", f"{number}, {what}", found, truth)


def _network() -> NetworkDenoiser:
    """A network that listens to all tokens, each as it happens."""
    torch.manual_seed(0)
    network = StripTransformer(WORLD.image_shape, (1, 1), 16, 2, 2, None, (3, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return NetworkDenoiser(network, SCHEDULER, image_shape=WORLD.image_shape)
