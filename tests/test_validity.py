import itertools

import pytest
import torch

from diffprobe.datasets import SymbolImages, WordList, hypercube
from diffprobe.datasets.glyphs import Glyphs
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.models import BayesDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.hidden_states.validity import log_odds, mixed_words

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="sample"))
UNEVEN = WordList(torch.tensor([[0, 0, 0], [0, 1, 2], [2, 1, 0], [0, 2, 2], [1, 1, 1]]), 3)
GLYPHS = Glyphs.font("abc", (4, 4), variants=2)


def test_the_log_odds_match_a_sum_over_all_words() -> None:
    world = SymbolImages(UNEVEN, GLYPHS, (1, 3))
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    t = 400
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t]), torch.float64)
    words = torch.randint(0, 3, (20, 3), generator=random)
    x_t = denoiser.noise(world.draw(words, random), torch.tensor([t]), random)

    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    variants = torch.tensor(list(itertools.product(range(2), repeat=3)))
    pictures = torch.stack([world.render(every, v.expand(27, 3)) for v in variants]).double()
    square = (x_t.double()[:, None, None] - alpha * pictures).square().sum((-3, -2, -1))
    likelihood = (-square / (2 * sigma.flatten() ** 2)).exp().mean(1)  # image by word
    valid = (every[:, None] == UNEVEN.list).all(-1).any(-1)
    marginals = torch.stack([(UNEVEN.list == v).double().mean(0) for v in range(3)], 1)
    product = marginals[torch.arange(3), every].prod(1)
    p_valid = likelihood[:, valid].mean(1)
    q = product * ~valid
    p_invalid = (likelihood * q).sum(1) / q.sum()
    expected = p_valid.log() - p_invalid.log()
    torch.testing.assert_close(log_odds(denoiser, world, x_t, t), expected)


@pytest.mark.parametrize("t", [0, 500, 999])
def test_the_log_odds_stay_finite_or_certain(t: int) -> None:
    world = hypercube(ParityConfig(6).build())
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    words = mixed_words(world.grammar, 100, random)
    x_t = denoiser.noise(world.render(words), torch.tensor([t]), random)
    odds = log_odds(denoiser, world, x_t, t)
    assert not odds.isnan().any()
    if t == 0:
        assert ((odds > 0) == world.grammar.contains(words)).all()


def test_the_optimum_is_as_right_as_it_believes() -> None:
    world = hypercube(ParityConfig(4).build())
    denoiser = BayesDenoiser(world, SCHEDULER)
    random = torch.Generator().manual_seed(0)
    words = mixed_words(world.grammar, 5000, random)
    labels = world.grammar.contains(words)
    for t in (100, 200, 300):
        x_t = denoiser.noise(world.render(words), torch.tensor([t]), random)
        odds = log_odds(denoiser, world, x_t, t)
        right = ((odds > 0) == labels).double().mean()
        assert abs(right - odds.abs().sigmoid().mean()) < 0.015


def test_invalid_words_follow_the_product_of_the_marginals() -> None:
    words = mixed_words(UNEVEN, 20_000, torch.Generator().manual_seed(0))
    valid = UNEVEN.contains(words)
    assert valid.tolist() == [True, False] * 20_000
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    marginals = UNEVEN.symbol_marginals()
    q = marginals[torch.arange(3), every].prod(1) * ~UNEVEN.contains(every)
    code = torch.tensor([9, 3, 1])
    drawn = torch.bincount(words[~valid] @ code, minlength=27) / 20_000
    torch.testing.assert_close(drawn.double(), q / q.sum(), atol=0.012, rtol=0)
