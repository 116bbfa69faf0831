from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import DataConfig, NoiseConfig, ProbeConfig
from diffprobe.datasets import (
    Dyck,
    Glyphs,
    Grammar,
    ModularSum,
    Palindrome,
    Parity,
    SymbolImages,
    hypercube,
)
from diffprobe.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser, training_oracle
from diffprobe.probes import placement

# Wide in log-SNR, so that the integrals have no tails outside.
SCHEDULER = noise_scheduler(NoiseConfig())
SCHEDULER.alphas_cumprod = torch.linspace(7, -7, 400, dtype=torch.float64).sigmoid()
WORLD = hypercube(Parity(4))
CONFIG = ProbeConfig(placement_images=64, placement_levels=15)


class Mixture(Denoiser):
    """A weighted sum of denoisers, and a constant."""

    def __init__(self, parts: list[tuple[float, Denoiser]], constant: float = 0.0) -> None:
        super().__init__(SCHEDULER)
        self.parts = parts
        self.constant = constant

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        total = sum(weight * part(x_t, t) for weight, part in self.parts)
        return total + self.constant


def oracles(world: SymbolImages = WORLD) -> tuple[Denoiser, Denoiser, Denoiser]:
    empirical = training_oracle(world, SCHEDULER, DataConfig(training_words=3))
    assert empirical is not None
    return ProductDenoiser(world, SCHEDULER), BayesDenoiser(world, SCHEDULER), empirical


@pytest.mark.parametrize(("gamma", "mu"), [(0.0, 0.0), (1.0, 0.0), (0.3, 0.6), (1.0, 1.0)])
def test_known_mixtures_are_placed_exactly(gamma: float, mu: float) -> None:
    product, bayes, empirical = oracles()
    mixture = Mixture([(1 - gamma, product), (gamma - mu, bayes), (mu, empirical)])
    result = placement.measure(mixture, WORLD, CONFIG, empirical=empirical)
    assert result.mean_mu is not None
    assert result.mean_gamma == pytest.approx((gamma, 0), abs=1e-6)
    assert result.mean_mu == pytest.approx((mu, 0), abs=1e-6)
    known = result.gamma.isfinite()
    assert known.any()
    assert not known.all()  # undefined where the grammar is worth nothing
    assert result.gamma[known].tolist() == pytest.approx([gamma] * int(known.sum()), abs=1e-6)
    if gamma or mu:
        assert result.unexplained[known].max() < 1e-9
    if mu == 0:
        along = (1 - gamma) ** 2 * result.grammar_nats[0]
        assert result.missed_along_nats[0] == pytest.approx(along, abs=1e-9)
        assert result.missed_nats[0] == pytest.approx(along, abs=1e-9)


def test_what_is_recalled_counts_where_the_grammar_lives() -> None:
    """At low noise a network needs no memory, and an empirical oracle is wrong without bound."""
    _, bayes, empirical = oracles()

    class Recalling(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            late = (self.log_snr(t) > 5).reshape(-1, 1, 1, 1)
            return torch.where(late, bayes(x_t, t), empirical(x_t, t))

    result = placement.measure(Recalling(SCHEDULER), WORLD, CONFIG, empirical=empirical)
    assert result.mean_mu == pytest.approx((1, 0), abs=1e-6)


def test_an_error_beside_the_axis_is_unexplained() -> None:
    product, bayes, _ = oracles()
    mixture = Mixture([(0.5, product), (0.5, bayes)], constant=0.2)
    result = placement.measure(mixture, WORLD, replace(CONFIG, placement_images=512))
    assert result.mean_gamma[0] == pytest.approx(0.5, abs=4 * result.mean_gamma[1] + 1e-3)
    assert result.missed_nats[0] > result.missed_along_nats[0]
    assert result.unexplained[result.gamma.isfinite()].min() > 0
    assert result.mean_mu is None


@pytest.mark.parametrize(
    "grammar",
    [Parity(4), Dyck(6, 1), Palindrome(5, 2)],
    ids=lambda g: type(g).__name__,
)
def test_the_integral_is_the_total_correlation_within_one_per_cent(grammar: Grammar) -> None:
    """I-MMSE (Guo, Shamai & Verdú, arXiv:cs/0412108)."""
    world = hypercube(grammar)
    config = ProbeConfig(placement_images=60_000, placement_levels=30, batch_size=20_000)
    result = placement.measure(ProductDenoiser(world, SCHEDULER), world, config)
    value, error = result.grammar_nats
    exact = grammar.total_correlation()
    assert value == pytest.approx(exact, rel=0.01)
    assert value == pytest.approx(exact, abs=4 * error)
    assert result.missed_nats == result.grammar_nats  # what the product oracle misses is all of it


def test_the_integral_of_drawn_symbols_with_variants() -> None:
    world = SymbolImages(ModularSum(3, 3, 3), Glyphs.font("abc", (4, 4), 2), (1, 3))
    config = ProbeConfig(placement_images=2000, placement_levels=60, batch_size=1000)
    result = placement.measure(ProductDenoiser(world, SCHEDULER), world, config)
    value, error = result.grammar_nats
    assert value == pytest.approx(world.grammar.total_correlation(), abs=4 * error)
    assert error < 0.06


def test_the_standard_error_is_the_spread_of_repetitions() -> None:
    product, bayes, _ = oracles()

    class Fading(Mixture):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            share = torch.sigmoid(x_t.sum((1, 2, 3), keepdim=True))
            return share * bayes(x_t, t) + (1 - share) * product(x_t, t)

    fading = Fading([])
    runs = [placement.measure(fading, WORLD, replace(CONFIG, seed=s)) for s in range(40)]
    for name in (
        "mean_gamma",
        "mean_unexplained",
        "missed_nats",
        "missed_along_nats",
        "grammar_nats",
    ):
        values = torch.tensor([getattr(r, name) for r in runs])
        claimed, spread = values[:, 1].square().mean().sqrt(), values[:, 0].std()
        assert 0.65 < claimed / spread < 1.5, name


def test_levels_can_be_chosen_and_are_drawn() -> None:
    _, bayes, empirical = oracles()
    levels = torch.tensor([300, 200, 100])
    result = placement.measure(bayes, WORLD, CONFIG, empirical=empirical, levels=levels)
    assert result.t.tolist() == [300, 200, 100]
    ax = placement.plot(result, Figure().subplots())
    labels = [str(line.get_label()) for line in ax.lines]
    assert labels[:2] == ["gamma, network", "mu, network"]
    assert {"optimal", "local"} <= set(labels)
    summary = result.summary()
    assert summary["gamma"]["value"] == pytest.approx(1)
    assert summary["total_correlation_nats"] == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_too_few_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match="placement_images must be at least 3"):
        placement.measure(oracles()[0], WORLD, replace(CONFIG, placement_images=2))
