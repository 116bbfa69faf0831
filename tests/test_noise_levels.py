import math

import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probing.noise_levels import (
    clean_inputs,
    nearest_level,
    noisy_inputs,
    spread_levels,
    symbols_form_at,
)

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(ParityConfig(4).build())
BAYES = BayesDenoiser(WORLD, SCHEDULER)


def test_a_log_snr_names_the_nearest_timestep() -> None:
    known = BAYES.log_snr(torch.arange(BAYES.timesteps))
    for t in (0, 1, 400, 999):
        assert nearest_level(BAYES, known[t].item()) == t
    between = (0.6 * known[400] + 0.4 * known[401]).item()
    assert nearest_level(BAYES, between) == 400
    # The ends as messages and figures round them.
    assert nearest_level(BAYES, round(known[999].item(), 2)) == 999
    for outside in (9.5, -11, math.inf, math.nan):
        with pytest.raises(UsageError, match=r"outside the schedule's -10.12 … 9.21"):
            nearest_level(BAYES, outside)


def test_levels_cover_the_schedule() -> None:
    levels = spread_levels(BAYES, 9)
    assert (levels[0], levels[-1]) == (999, 0)
    steps = BAYES.log_snr(levels).diff()
    assert steps.max() < 1.5 * steps.min()
    assert len(spread_levels(BAYES, 5000)) <= 1000
    with pytest.raises(UsageError, match="at least 1"):
        spread_levels(BAYES, 0)


def test_the_same_words_and_noise_at_every_level_and_for_every_denoiser() -> None:
    x_0, eps = clean_inputs(WORLD, 6, seed=3)
    words, legible = WORLD.read(x_0)
    assert legible.all()
    assert WORLD.grammar.contains(words).all()
    for denoiser, t in ((BAYES, 100), (ProductDenoiser(WORLD, SCHEDULER), 800)):
        x_t = noisy_inputs(denoiser, WORLD, 6, t, seed=3)
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t]))
        assert torch.allclose(x_t, alpha * x_0 + sigma * eps)
    low = noisy_inputs(BAYES, WORLD, 6, 100, seed=3)
    assert not torch.equal(noisy_inputs(BAYES, WORLD, 6, 100, seed=4), low)
    assert not torch.equal(noisy_inputs(BAYES, WORLD, 6, 100, seed=3, block=1), low)
    with pytest.raises(UsageError, match="t=1000 is outside 0 … 999"):
        noisy_inputs(BAYES, WORLD, 6, 1000, seed=3)


def test_larger_symbols_form_under_more_noise() -> None:
    large = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (12, 12)), (1, 4))
    forms = [symbols_form_at(BayesDenoiser(w, SCHEDULER), w) for w in (WORLD, large)]
    assert forms[0] < forms[1]


def test_a_sign_forms_where_half_its_entropy_is_gone() -> None:
    """Against the entropy of one sign in Gaussian noise, integrated numerically."""
    t = symbols_form_at(BAYES, WORLD, n=4000)
    product = SCHEDULER.alphas_cumprod[t].double()
    alpha, sigma = product.sqrt(), (1 - product).sqrt()
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    density = torch.exp(-((x - alpha) ** 2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5)
    p = torch.sigmoid(2 * alpha * x / sigma**2)
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    bits = torch.trapezoid(density * entropy, x) / torch.log(torch.tensor(2.0))
    assert bits.item() == pytest.approx(0.5, abs=0.02)
