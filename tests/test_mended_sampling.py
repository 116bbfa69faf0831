"""What mends samples: stretches of the path walked again, guidance, rejection; and their price."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages, hypercube
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import assess
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import wilson
from diffprobe.models import noise_scheduler
from diffprobe.models.guided import GuidedDenoiser
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.report.findings import findings
from diffprobe.sampling import Samples, sample
from diffprobe.sampling.given import FREE, Given
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(ParityConfig(4).build())
BAYES, PRODUCT = BayesDenoiser(WORLD, SCHEDULER), ProductDenoiser(WORLD, SCHEDULER)
DDIM = DDIMConfig()
CONFIG = SamplingConfig(n=1000, steps=40, batch_size=1000)


def resampling(**settings: Any) -> SamplerKind:
    return kinds.find("sampler", "resampling")(**settings)


def drawn(denoiser: Any, kind: SamplerKind = DDIM, **settings: Any) -> Samples:
    sampling = replace(CONFIG, **settings)
    return sample(denoiser, WORLD.image_shape, kind, sampling, False, dataset=WORLD)


def words(samples: Samples) -> Tensor:
    read, legible = WORLD.read(samples.images)
    return read[legible.all(1)]


def valid(samples: Samples) -> Tensor:
    return WORLD.grammar.contains(words(samples))


def counts(samples: Samples) -> Tensor:
    """How often each of the 16 words came."""
    return (words(samples) * torch.tensor([8, 4, 2, 1])).sum(1).bincount(minlength=16)


def test_without_repeats_it_is_diffusers_ddim() -> None:
    assert torch.equal(drawn(BAYES, resampling(repeats=0)).images, drawn(BAYES).images)


@pytest.mark.parametrize("scheduler", [SCHEDULER, FlowMatchEulerDiscreteScheduler()])
def test_walking_again_keeps_the_distribution_of_an_exact_denoiser(scheduler: Any) -> None:
    often = resampling(repeats=4, jump=5)
    samples = drawn(BayesDenoiser(WORLD, scheduler), often)
    assert len(words(samples)) > 990
    assert valid(samples).all()
    found = counts(samples)[counts(samples) > 0]
    assert len(found) == 8
    # Chi-squared of 7 degrees of freedom: 24.3 is exceeded once in a thousand.
    assert ((found - 125.0).square() / 125).sum() < 24.3
    by_product = wilson(int(valid(drawn(PRODUCT, often)).sum()), 1000)
    assert by_product.low < 0.5 < by_product.high


def test_a_stretch_is_walked_again_from_where_it_began() -> None:
    path = resampling(repeats=2, jump=2).path(BAYES.schedule, 4)
    assert path.levels.tolist() == [999, 749] * 3 + [499, 249] * 3
    everywhere = drawn(BAYES, resampling(repeats=2, jump=2), n=4, steps=4)
    assert everywhere.sampler["evaluations"] == 12
    log_snr = BAYES.log_snr(torch.tensor([499, 249])).tolist()
    late = resampling(window=(log_snr[0] - 0.1, log_snr[1] + 0.1)).path(BAYES.schedule, 4)
    assert late.levels.tolist() == [999, 749, 499, 499, 249, 249]
    with pytest.raises(UsageError, match=r"sampler.window = \[15, 16\] holds no 1 steps in a row"):
        resampling(window=(15.0, 16.0)).path(BAYES.schedule, 4)


def test_what_comes_back_up_has_the_variance_of_its_level() -> None:
    """From points at 0 and ±1, one step up and no more: E x_t² = alpha² + sigma²."""
    path = resampling(repeats=1, jump=1).path(BAYES.schedule, 4)
    x_0 = torch.ones(20_000, 1, 1, 4)
    x = path.advance(x_0, x_0, x_0, 6, torch.Generator().manual_seed(0))  # to clean, then to 249
    alpha, sigma = (v.item() for v in BAYES.schedule.values(torch.tensor([249])))
    assert x.mean().item() == pytest.approx(alpha, abs=0.01)
    assert x.std().item() == pytest.approx(sigma, rel=0.01)


def test_guided_by_the_posterior_the_product_oracle_is_the_optimum() -> None:
    guided = drawn(PRODUCT, guidance=1.0)
    assert torch.allclose(guided.images, drawn(BAYES).images, atol=1e-4)
    assert guided.sampler["evaluations"] == 40
    assert guided.sampler["oracle_evaluations"] == 80
    halfway = drawn(PRODUCT, guidance=0.3)
    assert 0.5 < valid(halfway).float().mean() < 1


def test_guidance_is_the_gradient_of_the_log_odds_of_a_valid_word() -> None:
    """Against autograd through p(valid | x_t) = (1 + prod_i tanh(alpha x_i / sigma²)) / 2."""
    guided = GuidedDenoiser(PRODUCT, WORLD, 2.0)
    x_t = torch.randn(6, 1, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t.requires_grad_()
    t = torch.tensor([100, 200, 300, 400, 500, 600])
    alpha, sigma = guided.alpha_sigma(t, torch.float64)
    even = ((1 + (alpha * x_t / sigma**2).tanh().flatten(1).prod(1)) / 2).log()
    (gradient,) = torch.autograd.grad(even.sum(), x_t)
    expected = PRODUCT(x_t, t) + 2 * sigma**2 / alpha * gradient
    assert torch.allclose(guided(x_t, t), expected, atol=1e-9)


def test_what_is_refused_is_drawn_again_and_paid_for() -> None:
    once = drawn(PRODUCT)
    rates = [valid(drawn(PRODUCT, rejection=k)).float().mean().item() for k in (1, 3)]
    assert rates[0] == pytest.approx(0.75, abs=0.05)
    assert rates[1] == pytest.approx(1 - 0.5**4, abs=0.03)  # some stay invalid, and are told
    again = drawn(PRODUCT, rejection=3)
    first = WORLD.read(once.images)
    kept = first[1].all(1) & WORLD.grammar.contains(first[0])
    assert torch.equal(again.images[kept], once.images[kept])
    draws = again.sampler["draws"]
    assert draws / 1000 == pytest.approx(1 + 0.5 + 0.25 + 0.125, abs=0.1)
    assert again.sampler["evaluations"] == draws * 40 / 1000
    assert drawn(BAYES, rejection=5).sampler["draws"] == 1000


def test_noise_of_a_further_draw_is_a_function_of_its_place() -> None:
    """Judged by another grammar others are refused; who is by both is drawn again alike."""
    other = hypercube(PalindromeConfig(4, symbols=2).build())
    sampling = replace(CONFIG, n=60, batch_size=25, rejection=1)
    first = drawn(PRODUCT, n=60, batch_size=25)
    read = WORLD.read(first.images)[0]
    by_both = ~WORLD.grammar.contains(read) & ~other.grammar.contains(read)
    by_one = WORLD.grammar.contains(read) != other.grammar.contains(read)
    ours, theirs = (
        sample(PRODUCT, WORLD.image_shape, DDIM, sampling, False, dataset=judge).images
        for judge in (WORLD, other)
    )
    assert by_both.sum() > 10
    assert by_one.sum() > 10
    assert torch.allclose(ours[by_both], theirs[by_both], atol=1e-6)
    assert not torch.allclose(ours[by_one], theirs[by_one])
    assert not torch.allclose(ours[by_both], first.images[by_both])


def test_given_cells_stay_in_further_draws() -> None:
    given = Given.words(WORLD, torch.tensor([[1, FREE, FREE, FREE], [0, FREE, FREE, FREE]] * 20))
    sampling = replace(CONFIG, n=40, batch_size=16, rejection=8)
    made = sample(PRODUCT, WORLD.image_shape, DDIM, sampling, False, dataset=WORLD, given=given)
    read, legible = WORLD.read(made.images)
    assert made.sampler["draws"] > 40
    assert legible.all()
    assert WORLD.grammar.contains(read).all()
    assert read[:, 0].tolist() == [1, 0] * 20


def test_a_report_tells_the_price() -> None:
    assessment = assess(drawn(PRODUCT, n=100, guidance=0.5, rejection=2), WORLD)
    notes = " ".join(findings(assessment, "01"))
    assert "something of the rule was learned" not in notes
    assert "guided by the exact posterior with weight 0.5, which took " in notes
    assert "drawn again, 2 times at most: 1." in notes
    assert assess(drawn(PRODUCT, n=100), WORLD).mended == ()


def test_what_cannot_be_mended_is_refused() -> None:
    other: SymbolImages = hypercube(ParityConfig(5).build())
    with pytest.raises(UsageError, match=r"sampling.guidance goes by images \(1, 1, 5\)"):
        sample(BAYES, (1, 1, 4), DDIM, replace(CONFIG, guidance=1.0), False, dataset=other)
    with pytest.raises(UsageError, match=r"leave sampling\.rejection at 0"):
        sample(
            BAYES,
            (1, 1, 4),
            DDIM,
            replace(CONFIG, rejection=1),
            False,
            watch=lambda *_: None,
            dataset=WORLD,
        )
