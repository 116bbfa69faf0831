import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare, norm
from torch import Tensor, nn

from diffprobe.config import Config
from diffprobe.datasets import Automaton, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.grammar_weight import grammar_weights
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.training import train
from diffprobe.training.objective import Objective
from diffprobe.training.objectives.denoising import DenoisingConfig
from diffprobe.training.penalties import Prediction

WORLD = hypercube(ParityConfig(4).build())
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
T = 200


def scheduler(prediction_type: str = "epsilon") -> Any:
    return noise_scheduler(
        NoiseConfig(timesteps=T, beta_end=0.1, prediction_type=prediction_type)  # type: ignore[arg-type]
    )


def objective(prediction_type: str = "epsilon", **settings: Any) -> Objective:
    return DenoisingConfig(**settings).build(scheduler(prediction_type), WORLD)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    random = seeded(7)
    x_0 = WORLD.draw_images(n, random)
    return x_0, torch.randint(T, (n,), generator=random), torch.randn(x_0.shape, generator=random)


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    product = scheduler().alphas_cumprod[t].reshape(-1, 1, 1, 1)
    return product.sqrt(), (1 - product).sqrt()


class Scaled(nn.Module):
    """Predicts its input times one number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, sample: Tensor, timestep: Tensor) -> Any:
        return SimpleNamespace(sample=self.scale * sample)


class Predicting(nn.Module):
    """Makes of a denoiser a network of some prediction type, `share` of the way from another."""

    def __init__(self, kind: str, denoiser: Denoiser, other: Denoiser, share: float) -> None:
        super().__init__()
        self.kind, self.denoiser, self.other = kind, denoiser, other
        self.share = nn.Parameter(torch.tensor(share))

    def forward(self, x_t: Tensor, t: Tensor) -> Any:
        x_0 = self.other(x_t, t) + self.share * (self.denoiser(x_t, t) - self.other(x_t, t))
        alpha, sigma = alpha_sigma(t)
        eps = (x_t - alpha * x_0) / sigma
        made = {"epsilon": eps, "sample": x_0, "v_prediction": alpha * eps - sigma * x_0}
        return SimpleNamespace(sample=made[self.kind])


# ---- what is the default ------------------------------------------------------------------------


def test_by_default_levels_are_even_and_the_loss_is_the_plain_error() -> None:
    found = objective().draw_levels(50, seeded(3))
    assert torch.equal(found, torch.randint(T, (50,), generator=seeded(3)))
    x_0, t, eps = batch()
    alpha, sigma = alpha_sigma(t)
    x_t = alpha * x_0 + sigma * eps
    random = seeded(1)
    loss = objective().loss(Scaled(0.5), x_0, t, eps, random)
    assert torch.equal(loss, torch.nn.functional.mse_loss(0.5 * x_t, eps))
    # Nothing was drawn.
    assert torch.equal(random.get_state(), seeded(1).get_state())


# ---- which levels are drawn ---------------------------------------------------------------------


def check_draws(made: Objective, shares: Tensor) -> None:
    """Compare draws with shares, in 20 ranges of levels that are about equally likely."""
    n = 20_000
    group = (20 * (shares.cumsum(0) - shares / 2)).long().clamp(max=19)
    wanted = torch.zeros(20).double().index_add(0, group, shares)
    drawn = group[made.draw_levels(n, seeded(2))].bincount(minlength=20)
    kept = wanted > 0
    assert chisquare(drawn[kept], n * wanted[kept] / wanted.sum()).pvalue > 1e-3


def log_snr() -> Tensor:
    return scheduler().alphas_cumprod.double().logit()


def test_levels_may_be_even_in_log_snr() -> None:
    made = objective(levels="log-snr")
    assert made.shares is not None
    low, high = log_snr()[-1], log_snr()[0]
    # Between a level and the next there is as much probability as there is log-SNR.
    middles = (log_snr()[1:] + log_snr()[:-1]) / 2
    below = made.shares.flip(0).cumsum(0).flip(0)[1:]
    assert (below - (middles - low) / (high - low)).abs().max() < 1e-9
    check_draws(made, made.shares)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (-0.8, 1.7), (1.0, 0.3)])
def test_levels_may_be_logit_normal(mean: float, scale: float) -> None:
    made = objective(levels="logit-normal", level_mean=mean, level_scale=scale)
    assert made.shares is not None
    edges = [
        math.log(k / (T - k)) if 0 < k < T else math.copysign(math.inf, k - 1) for k in range(T + 1)
    ]
    expected = torch.tensor(
        [norm.cdf(b, mean, scale) - norm.cdf(a, mean, scale) for a, b in itertools.pairwise(edges)]
    )
    assert (made.shares - expected).abs().max() < 1e-9
    check_draws(made, expected)


def test_levels_may_follow_the_grammar() -> None:
    made = objective(levels="grammar")
    assert made.shares is not None
    random = seeded(11)
    x_0 = WORLD.draw_images(2000, random)
    eps = torch.randn(x_0.shape, generator=random)
    weight = grammar_weights(WORLD, scheduler(), x_0, eps, torch.arange(T)).mean(1)
    middles = (log_snr()[1:] + log_snr()[:-1]) / 2
    widths = -torch.cat([log_snr()[:1], middles, log_snr()[-1:]]).diff()
    # I-MMSE: what the grammar is worth over the whole axis is its total correlation.
    assert (weight * widths).sum().item() == pytest.approx(math.log(2), rel=0.1)
    exact = weight * widths / (weight * widths).sum()
    assert (made.shares - exact).abs().sum() / 2 < 0.06
    check_draws(made, made.shares)


def test_the_weight_is_that_of_the_two_oracles() -> None:
    random = seeded(4)
    x_0 = WORLD.draw_images(5, random)
    eps = torch.randn(x_0.shape, generator=random)
    t = 60
    found = grammar_weights(WORLD, scheduler(), x_0, eps, torch.tensor([t, 10]))[0]
    alpha, sigma = alpha_sigma(torch.tensor([t]))
    x_t, level = alpha * x_0 + sigma * eps, torch.full((5,), t)
    apart = ProductDenoiser(WORLD, scheduler())(x_t, level) - BayesDenoiser(WORLD, scheduler())(
        x_t, level
    )
    expected = 0.5 * (alpha / sigma).square().item() * apart.square().sum((1, 2, 3))
    assert torch.allclose(found, expected.double(), rtol=1e-4)


def test_levels_cannot_follow_a_grammar_that_is_none() -> None:
    anything = hypercube(Automaton([[0, 0]], [0], length=4))
    with pytest.raises(UsageError, match="symbols of a word are independent"):
        DenoisingConfig(levels="grammar").build(scheduler(), anything)


# ---- how they are weighed -----------------------------------------------------------------------


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_min_snr_counts_the_error_of_x0_up_to_gamma(prediction_type: str) -> None:
    gamma = 3.0
    made = objective(prediction_type, weighting="min-snr", min_snr_gamma=gamma)
    x_0, t, eps = batch()
    alpha, sigma = alpha_sigma(t)
    snr = (alpha / sigma).square()
    assert (snr > gamma).any()
    assert (snr < gamma).any()
    output = 0.4 * (alpha * x_0 + sigma * eps)
    # The weights as the paper's section 3.4 has them.
    target, weight = {
        "epsilon": (eps, snr.clamp(max=gamma) / snr),
        "sample": (x_0, snr.clamp(max=gamma)),
        "v_prediction": (alpha * eps - sigma * x_0, snr.clamp(max=gamma) / (snr + 1)),
    }[prediction_type]
    expected = (weight * (output - target).square()).mean()
    loss = made.loss(Scaled(0.4), x_0, t, eps, seeded())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


# ---- penalties ----------------------------------------------------------------------------------


def test_smooth_scores_are_penalised_in_closed_form() -> None:
    """A network that predicts c x_t has the score -c x_t / sigma, whose Jacobian is -c / sigma."""
    made = objective(score_variance=0.7)
    x_0, t, eps = batch()
    _, sigma = alpha_sigma(t)
    network = Scaled(0.6)
    loss = made.loss(network, x_0, t, eps, seeded())
    plain = objective().loss(network, x_0, t, eps, seeded())
    c = torch.tensor(0.6, requires_grad=True)
    expected = 0.7 * (1 / sigma / (1 + (c / sigma).square())).mean()
    assert (loss - plain).item() == pytest.approx(expected.item(), rel=1e-4)
    (found,) = torch.autograd.grad(loss - plain, network.scale)
    (wanted,) = torch.autograd.grad(expected, c)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)
    assert wanted < 0  # a steeper score costs less


def test_the_diagonal_is_estimated_with_random_signs() -> None:
    """Of a network that mixes pixels: v_i (v^T J)_i, J from autograd."""
    mixing = torch.randn(4, 4, generator=seeded(5))

    def network(x: Tensor, t: Tensor) -> Any:
        return SimpleNamespace(sample=torch.tanh(x.flatten(1) @ mixing).reshape(x.shape))

    x_0, t, eps = batch(3)
    alpha, sigma = alpha_sigma(t)
    x_t = alpha * x_0 + sigma * eps
    difference = objective(score_variance=1.0).loss(
        network, x_0, t, eps, seeded(9)
    ) - objective().loss(network, x_0, t, eps, seeded())
    signs = torch.randint(2, (3, 1, 1, 4), generator=seeded(9)).flatten(1) * 2 - 1
    expected = 0.0
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, i=i: -network(x[None, None, None], t).sample.flatten() / sigma[i].item(),
            x_t[i].flatten(),
        )
        diagonal = signs[i] * (signs[i].float() @ jacobian)
        expected += float((1 / (1 + diagonal.square())).mean() / sigma[i]) / 3
    assert difference.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize(
    ("share", "penalty"), [(0.0, 0.5), (0.5, 0.2), (1.0, 0.0), (1.5, 0.0), (-2.0, 0.9)]
)
def test_what_falls_short_of_the_grammar_is_penalised(
    prediction_type: str, share: float, penalty: float
) -> None:
    """With the shortfall s = 1 - gamma, s² / (1 + s²)."""
    bayes, product = BayesDenoiser(WORLD, scheduler()), ProductDenoiser(WORLD, scheduler())
    network = Predicting(prediction_type, bayes, product, share)
    x_0, t, eps = batch()
    made = objective(prediction_type, from_product=2.0)
    plain = objective(prediction_type).loss(network, x_0, t, eps, seeded())
    found = (made.loss(network, x_0, t, eps, seeded()) - plain) / 2
    assert found.item() == pytest.approx(penalty, abs=1e-3)
    (slope,) = torch.autograd.grad(found, network.share)
    expected = -2 * max(0.0, 1 - share) / (1 + max(0.0, 1 - share) ** 2) ** 2
    assert slope.item() == pytest.approx(expected, abs=2e-3)


def test_where_the_grammar_is_worth_nothing_nothing_is_asked() -> None:
    x_0, _, eps = batch()
    t = torch.zeros(len(x_0), dtype=torch.long)  # hardly any noise
    network = Scaled(0.3)
    made = objective(from_product=1.0).loss(network, x_0, t, eps, seeded())
    assert made.item() == objective().loss(network, x_0, t, eps, seeded()).item()


NETWORKS = [
    TransformerConfig(width=32, depth=1),
    UNetConfig(channels=(8, 16), layers_per_block=1, attention=(False, True), norm_groups=4),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_training_with_everything_at_once(
    network: Any, tiny_config: Config, tmp_path: Path
) -> None:
    kind = DenoisingConfig(
        levels="grammar", weighting="min-snr", score_variance=0.1, from_product=0.1
    )
    training = replace(tiny_config.training, steps=6, checkpoints=1, log_every=3)
    config = replace(tiny_config, objective=kind, training=training, network=network)
    run = train(config, tmp_path / "run", "cpu")
    assert run.config() == config
    assert len(run.metrics()) == 2


def test_each_cell_has_its_own_level_in_weights_and_penalties() -> None:
    """Cells at the levels of two images count as those images do."""
    x_0, _, eps = batch(2)
    network = Scaled(0.5)
    low, high = torch.tensor([30, 30]), torch.tensor([120, 120])
    mixed = torch.tensor([[30, 30, 120, 120]]).expand(2, -1)
    for settings in ({"weighting": "min-snr"}, {"score_variance": 1.0}):
        by_cell = objective(by_cell=True, **settings).loss(network, x_0, mixed, eps, seeded())
        halves = [
            objective(**settings).loss(network, x_0[..., part], t, eps[..., part], seeded())
            for t, part in ((low, slice(0, 2)), (high, slice(2, 4)))
        ]
        assert by_cell.item() == pytest.approx(sum(h.item() for h in halves) / 2, rel=1e-5)
    bayes, product = BayesDenoiser(WORLD, scheduler()), ProductDenoiser(WORLD, scheduler())
    made = objective(by_cell=True, from_product=1.0)
    drawn = made.draw_levels(500, seeded())
    assert drawn.shape == (500, 4)
    prediction = Prediction(
        x_t := made.schedule.noise(x_0, eps, mixed),
        mixed,
        (bayes(x_t, mixed) + product(x_t, mixed)) / 2,
        *made.schedule.training_alpha_sigma(mixed),
    )
    (penalty,) = made.penalties
    assert penalty(prediction, seeded()).item() == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level_scale": 0.0}, "level_scale must be positive, not 0"),
        ({"min_snr_gamma": -1.0}, "min_snr_gamma must be positive"),
        ({"score_variance": -1.0}, "score_variance must not be negative"),
        ({"from_product": math.inf}, "from_product must not be negative"),
    ],
)
def test_objectives_that_cannot_be(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DenoisingConfig(**settings)  # type: ignore[arg-type]
