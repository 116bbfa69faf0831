import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.markers import CARETUP
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, Grammar, SymbolImages, WordList, hypercube
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser, training_oracle
from diffprobe.probes.placement import PlacementConfig, draws, figures, place, words
from diffprobe.probing.opening import subject_of

# Wide in log-SNR, so that the integrals have no tails outside.
SCHEDULER = noise_scheduler(NoiseConfig())
SCHEDULER.alphas_cumprod = torch.linspace(7, -7, 400, dtype=torch.float64).sigmoid()
WORLD = hypercube(ParityConfig(4).build())
SETTINGS = PlacementConfig(images=128, levels=15)
COMMON = ProbeConfig()
STREAM = FiniteWords(WORLD.grammar, 3)


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
    empirical = training_oracle(world, SCHEDULER, FiniteWords(world.grammar, 3))
    assert empirical is not None
    return ProductDenoiser(world, SCHEDULER), BayesDenoiser(world, SCHEDULER), empirical


class Elsewhere(Denoiser):
    """The product oracle at a wrong noise level: local, and wrong by more than a factor."""

    def __init__(self, world: SymbolImages) -> None:
        super().__init__(SCHEDULER)
        self.product = ProductDenoiser(world, SCHEDULER)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.product(x_t, (t + 25).clamp(max=self.timesteps - 1))


def known_nulls(world: SymbolImages) -> dict[str, Denoiser]:
    """Denoisers that know neither the rule nor any training set."""
    product = ProductDenoiser(world, SCHEDULER)
    return {
        "constant": Mixture([(0.0, product)]),
        "scaled": Mixture([(0.8, product)]),
        "elsewhere": Elsewhere(world),
    }


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0])
def test_known_mixtures_are_placed_exactly(gamma: float) -> None:
    product, bayes, _ = oracles()
    mixture = Mixture([(1 - gamma, product), (gamma, bayes)])
    result = place.measure(mixture, WORLD, SETTINGS, COMMON, stream=STREAM)
    assert result.mean_gamma.value.item() == pytest.approx(gamma, abs=1e-6)
    assert result.mean_scale.value.item() == pytest.approx(1, abs=1e-6)
    assert result.mean_mu_raw is not None
    assert result.mean_mu_raw.value.item() == pytest.approx(0, abs=1e-6)
    assert result.undefined == ""
    known = result.gamma.value.isfinite()
    assert known.any()
    assert not known.all()  # undefined where the grammar is worth nothing
    assert torch.allclose(
        result.gamma.value[known], torch.tensor(gamma, dtype=torch.float64), atol=1e-6
    )
    exact = WORLD.grammar.total_correlation()
    # The product oracle misses exactly the total correlation, whatever the draws.
    along = (1 - gamma) ** 2 * exact
    for found in (result.missed_along_nats, result.missed_nats):
        assert found.value.item() == pytest.approx(along, abs=1e-6)
    assert result.to_product_nats.value.item() == pytest.approx(gamma**2 * exact, abs=1e-6)
    if gamma:
        assert result.mean_unexplained.value < 1e-9


@pytest.mark.parametrize("name", ["constant", "scaled", "elsewhere"])
def test_who_knows_nothing_has_neither_gamma_nor_mu(name: str) -> None:
    """Over seeds of draws and training sets; mu alone is what locality and miscalibration make."""
    denoiser = known_nulls(WORLD)[name]
    runs = [
        place.measure(
            denoiser,
            WORLD,
            replace(SETTINGS, images=256),
            replace(COMMON, seed=seed),
            stream=FiniteWords(WORLD.grammar, 3, 100 * seed),
        )
        for seed in range(5)
    ]
    missed = 0
    for run in runs:
        assert run.mean_mu is not None
        for found in (run.mean_gamma, run.mean_mu):
            assert found.low.isfinite()
            assert found.high - found.low < 0.3
            missed += not found.contains(0.0)
    assert missed <= 2
    gammas = torch.stack([run.mean_gamma.value for run in runs])
    mus = torch.stack([run.mean_mu.value for run in runs if run.mean_mu is not None])
    assert gammas.mean().abs() < 0.02
    assert mus.mean().abs() < 0.04
    scale = {"constant": 0.0, "scaled": 0.8}.get(name)
    if scale is not None:
        assert torch.stack([r.mean_scale.value for r in runs]).mean().item() == pytest.approx(scale)


def test_mu_alone_finds_memory_where_there_is_none() -> None:
    """What placebos are for: a blurred optimum has a coefficient on every set of words."""
    bayes = BayesDenoiser(WORLD, SCHEDULER)

    class Blurred(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return bayes(x_t, (t + 60).clamp(max=self.timesteps - 1))

    settings = replace(SETTINGS, images=256)
    result = place.measure(Blurred(SCHEDULER), WORLD, settings, COMMON, stream=STREAM)
    assert result.mean_mu is not None
    assert result.mean_mu_raw is not None
    assert result.mean_mu_placebo is not None
    assert not result.mean_mu_raw.contains(0.0)
    assert not result.mean_mu_placebo.contains(0.0)
    assert result.mean_mu.contains(0.0)
    assert result.mean_mu.n == SETTINGS.placebos


def test_what_is_recalled_counts_where_the_grammar_lives() -> None:
    """At low noise a network needs no memory, and an empirical oracle is wrong without bound."""
    _, bayes, empirical = oracles()

    class Recalling(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            late = (self.log_snr(t) > 5).reshape(-1, 1, 1, 1)
            return torch.where(late, bayes(x_t, t), empirical(x_t, t))

    result = place.measure(Recalling(SCHEDULER), WORLD, SETTINGS, COMMON, stream=STREAM)
    assert result.mean_mu is not None
    assert result.mean_mu_raw is not None
    assert result.mean_mu_raw.value.item() == pytest.approx(1, abs=1e-6)
    assert result.mean_mu.contains(1.0)
    assert result.mean_mu.low > 0.5


@pytest.mark.parametrize("mu", [0.3, 0.6])
def test_a_share_of_the_training_set_is_found(mu: float) -> None:
    product, bayes, empirical = oracles()
    mixture = Mixture([(0.5, product), (0.5 - mu, bayes), (mu, empirical)])
    result = place.measure(mixture, WORLD, replace(SETTINGS, images=256), COMMON, stream=STREAM)
    assert result.mean_mu is not None
    assert result.mean_mu.contains(mu)
    assert not result.mean_mu.contains(0.0)


def test_placebos_are_other_sets_drawn_alike() -> None:
    others = draws.placebos(STREAM, 8)
    sets = [each.training for each in (STREAM, *others)]
    assert len(sets) == 9
    assert len({tuple(sorted(map(tuple, s.tolist()))) for s in sets if s is not None}) == 9
    # Seven words of eight: there are seven other sets, as a training set of one word has.
    assert len(draws.placebos(FiniteWords(WORLD.grammar, 7), 10)) == 7
    two = SymbolImages(WordList(torch.tensor([[0, 0], [1, 1]])), WORLD.glyphs, (1, 2))
    assert len(draws.placebos(FiniteWords(two.grammar, 1), 8)) == 1
    result = place.measure(
        ProductDenoiser(two, SCHEDULER), two, SETTINGS, COMMON, stream=FiniteWords(two.grammar, 1)
    )
    assert result.mean_mu is None  # a single other set has no spread


def test_where_all_words_are_valid_gamma_is_undefined() -> None:
    world = hypercube(ModularSumConfig(3, 2, 1).build())
    result = place.measure(ProductDenoiser(world, SCHEDULER), world, SETTINGS, COMMON)
    assert result.mean_gamma.value.isnan()
    assert result.mean_gamma.low.isnan()
    assert result.gamma.value.isnan().all()
    assert "no grammar to use" in result.undefined
    text = "\n".join(words.lines(result.summary()))
    assert "gamma         undefined" in text
    assert "0.000 ± 0.000" not in text
    ax = figures.plot(result, Figure().subplots())
    assert "undefined" in ax.get_title()


def test_where_the_grammar_is_worth_nothing_gamma_is_undefined() -> None:
    levels = torch.tensor([399, 398, 397])
    scheduler = noise_scheduler(NoiseConfig())
    scheduler.alphas_cumprod = torch.linspace(-12, -16, 400, dtype=torch.float64).sigmoid()
    denoiser = ProductDenoiser(WORLD, scheduler)
    result = place.measure(denoiser, WORLD, SETTINGS, COMMON, levels=levels, stream=STREAM)
    assert result.mean_gamma.value.isnan()
    assert result.mean_mu is None
    assert "nats per unit log-SNR" in result.undefined
    assert result.total_correlation == pytest.approx(math.log(2))


def test_an_error_beside_the_axis_is_unexplained() -> None:
    product, bayes, _ = oracles()
    mixture = Mixture([(0.5, product), (0.5, bayes)], constant=0.2)
    result = place.measure(mixture, WORLD, replace(SETTINGS, images=512), COMMON)
    assert result.mean_gamma.contains(0.5)
    assert result.missed_nats.low > result.missed_along_nats.high
    assert result.to_product_nats.value > 0.25 * result.total_correlation
    told = result.unexplained.isfinite()
    assert result.unexplained[told].min() > 0
    assert 0 < result.mean_unexplained.low < result.mean_unexplained.high < 1
    assert result.mean_mu is None


@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(4).build(), DyckConfig(6, 1).build(), PalindromeConfig(5, 2).build()],
    ids=lambda g: type(g).__name__,
)
def test_the_integral_is_the_total_correlation_within_one_per_cent(grammar: Grammar) -> None:
    """I-MMSE (Guo, Shamai & Verdú, arXiv:cs/0412108)."""
    world = hypercube(grammar)
    settings = PlacementConfig(images=30_000, levels=30)
    common = ProbeConfig(batch_size=20_000)
    result = place.measure(ProductDenoiser(world, SCHEDULER), world, settings, common)
    exact = grammar.total_correlation()
    found = result.grammar_nats
    assert found.value.item() == pytest.approx(exact, rel=0.01)
    assert found.value.item() == pytest.approx(exact, abs=4 * found.standard_error.item())


def test_the_integral_of_drawn_symbols_with_variants() -> None:
    world = SymbolImages(ModularSumConfig(3, 3, 3).build(), Glyphs.font("abc", (4, 4), 2), (1, 3))
    settings = PlacementConfig(images=2000, levels=60)
    common = ProbeConfig(batch_size=1000)
    result = place.measure(ProductDenoiser(world, SCHEDULER), world, settings, common)
    value, error = result.grammar_nats.value.item(), result.grammar_nats.standard_error.item()
    assert value == pytest.approx(world.grammar.total_correlation(), abs=4 * error)
    assert error < 0.06


def test_intervals_cover_in_repetitions() -> None:
    """Of 50 repetitions nominal 95 % should miss 2.5 times; 8 is out of the question (p < .005)."""
    product, bayes, _ = oracles()

    class Fading(Denoiser):
        """More of the grammar in brighter images; errors that are local and of two kinds."""

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            share = torch.sigmoid(x_t.mean((1, 2, 3), keepdim=True))
            mixed = share * bayes(x_t, t) + (1 - share) * product(x_t, t)
            return 0.95 * mixed + 0.1 * torch.tanh(2 * x_t)

    fading = Fading(SCHEDULER)
    names = [
        "mean_gamma",
        "mean_scale",
        "mean_unexplained",
        "missed_nats",
        "missed_along_nats",
        "to_product_nats",
        "grammar_nats",
    ]

    def measured(n: int, seed: int) -> place.Placement:
        settings = replace(SETTINGS, images=n)
        common = replace(COMMON, batch_size=20_000, seed=seed)
        return place.measure(fading, WORLD, settings, common)

    truth = measured(12_000, 1000)
    runs = [measured(256, seed) for seed in range(50)]
    for name in names:
        found = intervals.stacked([getattr(run, name) for run in runs])
        true = getattr(truth, name).value
        if name == "grammar_nats":
            true = torch.tensor(truth.total_correlation)
        assert found.low.isfinite().all(), name
        assert found.contains(true).sum() > 42, name
        claimed = found.standard_error.square().mean().sqrt()
        assert 0.65 < claimed / found.value.std() < 1.5, name


def test_levels_can_be_chosen_and_are_drawn() -> None:
    _, _, empirical = oracles()
    levels = torch.tensor([300, 200, 100])
    result = place.measure(empirical, WORLD, SETTINGS, COMMON, stream=STREAM, levels=levels)
    assert result.t.tolist() == [300, 200, 100]
    ax = figures.plot(result, Figure().subplots())
    labels = [str(line.get_label()) for line in ax.lines]
    assert labels[:2] == ["gamma, network", "mu above placebos"]
    assert {"optimal", "local"} <= set(labels)
    summary = result.summary()
    assert set(summary["gamma"]) == {"value", "standard_error", "low", "high", "n"}
    assert summary["mu_raw"]["value"] == pytest.approx(1)
    assert len(words.lines(summary)) == 7
    # The band is the interval, which need not be symmetric.
    band = ax.collections[0].get_paths()[0].vertices
    low, high = result.gamma.low, result.gamma.high
    told = low[low.isfinite()].tolist() + high[high.isfinite()].tolist()
    assert {round(y, 6) for y in told} <= {round(float(y), 6) for y in band[:, 1]}
    assert summary["total_correlation_nats"] == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_the_axis_follows_what_is_measured_well() -> None:
    result = place.measure(oracles()[1], WORLD, SETTINGS, COMMON)
    known = result.gamma.value.isfinite()
    assert not known.all()
    first, second, third = known.nonzero()[:3, 0].tolist()
    gamma = Interval(**{f: getattr(result.gamma, f).clone() for f in vars(result.gamma)})
    gamma.value[first], gamma.low[first], gamma.high[first] = 14.0, 2.0, 26.0
    gamma.value[second], gamma.low[second], gamma.high[second] = 1.5, 1.4, 1.6
    gamma.value[third], gamma.low[third], gamma.high[third] = 0.5, math.nan, math.nan
    ax = figures.plot(replace(result, gamma=gamma), Figure().subplots())
    assert ax.get_ylim() == pytest.approx((-0.1, 1.6))
    x = result.log_snr.tolist()
    marked = [line for line in ax.lines if line.get_marker() == CARETUP]
    assert [line.get_xydata().tolist() for line in marked] == [[[x[first], pytest.approx(1.6)]]]
    assert "14" in [text.get_text() for text in ax.texts]
    # Without an interval a point is hollow, and not on the line.
    assert math.isnan(ax.lines[0].get_ydata()[third])
    hollow = next(line for line in ax.lines if line.get_markerfacecolor() == "white")
    assert [x[third], 0.5] in hollow.get_xydata().tolist()
    assert all(math.isnan(ax.lines[0].get_ydata()[x.index(at)]) for at in hollow.get_xdata())
    # Where gamma is not defined the axis says why.
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    for place_, told in zip(x, known.tolist(), strict=True):
        inside = any(low <= place_ <= high for low, high in spans)
        assert told != inside or not ax.get_xlim()[0] <= place_ <= ax.get_xlim()[1]
    assert any("not defined" in text.get_text() for text in ax.texts)


def test_a_grammar_of_nothing_has_no_figure(tmp_path: Path) -> None:
    world = hypercube(ModularSumConfig(3, 2, 1).build())
    result = place.measure(ProductDenoiser(world, SCHEDULER), world, SETTINGS, COMMON)
    subject = subject_of(ProductDenoiser(WORLD, SCHEDULER), WORLD)
    figures.draw(result, subject, tmp_path)
    assert not list(tmp_path.iterdir())


def test_few_draws_have_no_interval() -> None:
    result = place.measure(oracles()[1], WORLD, replace(SETTINGS, images=8), COMMON)
    assert result.mean_gamma.value.item() == pytest.approx(1, abs=1e-6)
    assert result.mean_gamma.low.isnan()
    assert "no interval" in words.lines(result.summary())[0]


def test_too_few_are_refused() -> None:
    with pytest.raises(UsageError, match=r"probes\.placement\.placebos must be at least 2"):
        PlacementConfig(placebos=1)
    with pytest.raises(UsageError, match=r"probes\.placement\.images must be at least 3"):
        PlacementConfig(images=2)
