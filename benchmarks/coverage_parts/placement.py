"""Gamma, scale, mu, the unexplained share and the nats, of denoisers whose place is known.

A pool of draws at every level is the population. Its own gamma and nats are the truth, and what its
draws make the grammar worth is what a measurement knows exactly.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from coverage_parts.table import Row, picks
from coverage_parts.worlds import SCHEDULER, World
from diffprobe.config import ProbeConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.foundations import intervals
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser
from diffprobe.models.oracles import training_oracle
from diffprobe.probes.placement import PlacementConfig, draws
from diffprobe.probes.placement.place import place as place_network
from diffprobe.probes.placement.regression import Products
from diffprobe.probing.noise_levels import spread_levels

DEFAULT = PlacementConfig()
POOL = 3000
SETS = 40  # sets of words of which a measurement takes nine

NUMBERS = {
    "gamma": "mean_gamma",
    "scale": "mean_scale",
    "unexplained": "mean_unexplained",
    "nats missed along the axis": "missed_along_nats",
    "nats missed, whole": "missed_nats",
    "nats to the product oracle": "to_product_nats",
    "nats of the grammar, as drawn": "grammar_nats",
}


class Blend(Denoiser):
    """gamma D_Bayes + (1 − gamma) D_product, and an error of its own that sees its cell alone."""

    def __init__(self, world: World, gamma: float, error: float, late: int = 0) -> None:
        super().__init__(SCHEDULER)
        self.bayes = BayesDenoiser(world.images, SCHEDULER)
        self.product = ProductDenoiser(world.images, SCHEDULER)
        self.gamma, self.error, self.late = gamma, error, late

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        t = (t - self.late).clamp(min=0)
        blend = self.gamma * self.bayes(x_t, t) + (1 - self.gamma) * self.product(x_t, t)
        return blend + self.error * torch.tanh(3 * x_t)


def rows(world: World, repeats: int) -> Iterator[Row]:
    """Yield the rows of a trained network, a known null and a known positive."""
    for name, denoiser in (
        ("network", world.network),
        ("product at a wrong level", Blend(world, 0.0, 0.0, late=60)),
        ("gamma 0.5 and an error", Blend(world, 0.5, 0.03)),
    ):
        levels = spread_levels(denoiser, DEFAULT.levels)
        known, even = draws.levels_with_grammar(denoiser, world.images, levels)
        log_snr = denoiser.log_snr(levels)
        common = ProbeConfig(batch_size=500)
        pool = torch.stack(
            [
                draws.inner_products(denoiser, world.images, POOL, common, t, [])
                for t in levels.tolist()
            ]
        )
        products = Products.over(pool, log_snr)
        exact = float(products.integral(products.weight).mean())

        place = partial(
            place_network,
            levels,
            log_snr,
            known=known,
            even=even,
            exact=exact,
            whole=True,
            settings={},
        )
        truth = place(grams=list(pool))
        index = picks(POOL, repeats * len(levels), DEFAULT.images)
        index = index.reshape(repeats, len(levels), -1)
        each = torch.arange(len(levels))[:, None]
        found = [place(grams=list(pool[each, i])) for i in index]
        for what, field in NUMBERS.items():
            told = intervals.stacked([getattr(f, field) for f in found])
            yield Row.of(f"{world.name}, {name}", what, told, getattr(truth, field).value)


def memory(world: World, words: int, repeats: int) -> Iterator[Row]:
    """Yield mu above placebo sets of denoisers that know no training set: it should be 0."""
    grammar = world.images.grammar
    sets = [
        oracle
        for seed in range(SETS)
        if (oracle := training_oracle(world.images, SCHEDULER, FiniteWords(grammar, words, seed)))
    ]
    for name, denoiser in (
        ("product at a wrong level", Blend(world, 0.0, 0.0, late=60)),
        ("network", world.network),
    ):
        levels = spread_levels(denoiser, 21)
        known, _ = draws.levels_with_grammar(denoiser, world.images, levels)
        levels = levels[known]
        log_snr = denoiser.log_snr(levels)
        common = ProbeConfig(batch_size=400)
        pool = torch.stack(
            [
                draws.inner_products(denoiser, world.images, 800, common, t, sets)
                for t in levels.tolist()
            ]
        )
        everywhere = torch.ones(len(levels), dtype=torch.bool)
        each = torch.arange(len(levels))[:, None]
        random = torch.Generator().manual_seed(3)
        found = []
        for _ in range(repeats):
            chosen = torch.randperm(SETS, generator=random)[: 1 + DEFAULT.placebos]
            columns = torch.cat([torch.arange(3), 3 + chosen])
            drawn = torch.randint(800, (len(levels), DEFAULT.images), generator=random)
            grams = pool[each, drawn][..., columns, :][..., columns]
            place = place_network(
                levels, log_snr, list(grams), everywhere, everywhere, 1.0, whole=False, settings={}
            )
            if place.mean_mu is not None:
                found.append(place.mean_mu)
        what = f"mu above placebos, {words} words"
        yield Row.of(f"{world.name}, {name}", what, intervals.stacked(found), 0.0)
