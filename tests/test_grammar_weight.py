from dataclasses import replace

import pytest
import torch

from diffprobe.config import ProbeConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.models import BayesDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probing.grammar_weight import GrammarWeight, grammar_weight
from diffprobe.probing.noise_levels import noisy_inputs, spread_levels

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(ParityConfig(4).build())
BAYES = BayesDenoiser(WORLD, SCHEDULER)
CURVE = GrammarWeight(torch.arange(7).flip(0), torch.tensor([0.0, 1, 6, 3, 0, 0, 0]).double())


def test_the_weight_is_half_snr_times_the_squared_difference_of_the_optima() -> None:
    levels = torch.tensor([700, 300])
    found = grammar_weight(BAYES, WORLD, levels, n=50, seed=3)
    product = ProductDenoiser(WORLD, SCHEDULER)
    for t, value in zip(levels.tolist(), found.tolist(), strict=True):
        x_t = noisy_inputs(BAYES, WORLD, 50, t, 3)
        gap = (BAYES(x_t, torch.full((50,), t)) - product(x_t, torch.full((50,), t))).double()
        snr = SCHEDULER.alphas_cumprod[t].double() / (1 - SCHEDULER.alphas_cumprod[t].double())
        assert value == pytest.approx(float(snr / 2 * gap.square().sum((1, 2, 3)).mean()), rel=1e-6)


def test_its_integral_is_the_total_correlation() -> None:
    config = ProbeConfig(grammar_images=4000, grammar_levels=60)
    found = GrammarWeight.of(BAYES, WORLD, config)
    assert torch.equal(found.levels, spread_levels(BAYES, 60))
    worth = torch.trapezoid(found.weight, BAYES.log_snr(found.levels))
    assert worth.item() == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=0.03)
    fewer = GrammarWeight.of(BAYES, WORLD, replace(config, grammar_levels=5, grammar_images=8))
    assert len(fewer.levels) == 5


def test_levels_are_told_by_their_weight() -> None:
    assert CURVE.most == 4
    assert CURVE.above(0.5).tolist() == [4, 3]
    # Nine tenths are those at 4 and 3, and one level more at either end.
    assert CURVE.carrying(0.9).tolist() == [5, 4, 3, 2]
    assert CURVE.carrying(0.95).tolist() == [6, 5, 4, 3, 2]
    # The quarter and three quarters of the cumulative weight, 1, 7, 10.
    assert CURVE.middles(2).tolist() == [4, 3]
    assert CURVE.middles(1).tolist() == [4]
