import itertools
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, Grammar, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.seeding import generator
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig, judging, maps
from diffprobe.probes.attribution.figures import CONTROLS, plot_truth
from diffprobe.probes.attribution.methods import BASELINES, TITLES
from diffprobe.probes.attribution.ranks import own_cell_alone, truthfulness
from diffprobe.probes.attribution.truth import EFFECTS, Truth, conditionals, effects
from diffprobe.probing.noise_levels import noisy_inputs

SCHEDULER = noise_scheduler(NoiseConfig())
BRACKETS = SymbolImages(DyckConfig(8, 1).build(), Glyphs.font("()", (4, 5)), (1, 8))


def world(grammar: Grammar, variants: int = 2) -> SymbolImages:
    """Glyphs of noise, the first symbol with one variant fewer than the others."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(grammar.symbols, variants, 1, 2, 3, generator=random)
    counts = torch.full((grammar.symbols,), variants)
    counts[0] = max(1, variants - 1)
    images[0, counts[0] :] = images[0, 0]
    names = tuple("abcdefgh"[: grammar.symbols])
    return SymbolImages(grammar, Glyphs(images, counts, names, 1.0, 1.0), (1, grammar.length))


def enumerated(
    images: SymbolImages, x: Tensor, alpha: float, sigma: float, weights: Tensor, region: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """F and posterior of the region's symbol, with all cells and without each, over all images."""
    grammar, glyphs = images.grammar, images.glyphs
    chosen = []
    for word in grammar.words().tolist():
        of_cell = [range(int(glyphs.counts[v])) for v in word]
        chosen += [(word, variants) for variants in itertools.product(*of_cell)]
    words, variants = (torch.tensor(part) for part in zip(*chosen, strict=True))
    pictures = images.render(words, variants).double()
    prior = -glyphs.counts[words].double().log().sum(1)  # words alike, then variants alike
    difference = images.cells((x[:, None] - alpha * pictures[None]).flatten(0, 1))
    misfit = difference.square().sum((2, 3, 4))
    each = -misfit.reshape(len(x), len(pictures), -1) / (2 * sigma**2)
    values = torch.einsum("nchw,mchw->nm", weights, pictures)
    symbol = torch.nn.functional.one_hot(words[:, region], grammar.symbols).double()

    def given(log_likelihood: Tensor) -> tuple[Tensor, Tensor]:
        posterior = (log_likelihood + prior).softmax(1)
        return (posterior * values).sum(1), posterior @ symbol

    parts = [given(each.sum(2) - each[:, :, j]) for j in range(grammar.length)]
    without, symbols = (torch.stack(part, 1) for part in zip(*parts, strict=True))
    return *given(each.sum(2)), without, symbols


def asked(images: SymbolImages, n: int, sigma: float, region: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    clean = images.draw_images(n, random).double()
    x = 0.8 * clean + sigma * torch.randn(clean.shape, generator=random, dtype=torch.float64)
    cells = torch.zeros_like(images.cells(x))
    cells[:, region] = torch.randn(cells[:, region].shape, generator=random, dtype=torch.float64)
    return x, images.image(cells)


def scales(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.3, 1.5])
@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(4).build(), DyckConfig(4, 1).build(), ModularSumConfig(3, 3, 3).build()],
)
def test_marginalising_equals_brute_force(grammar: Grammar, sigma: float) -> None:
    images, region = world(grammar), 1
    x, weights = asked(images, 6, sigma, region)
    output, posterior, without, symbols = enumerated(images, x, 0.8, sigma, weights, region)
    alpha, spread = scales(0.8), scales(sigma)
    found = conditionals(images, x, alpha, spread, weights, region)
    assert found.outputs.shape == (6, grammar.length, grammar.symbols, 2)
    assert torch.allclose(found.output, output, rtol=0, atol=1e-9)
    assert torch.allclose(found.posterior, posterior, rtol=0, atol=1e-9)
    unseen, unseen_symbols = found.given(0.0)
    assert torch.allclose(unseen, without, rtol=0, atol=1e-9)
    assert torch.allclose(unseen_symbols, symbols, rtol=0, atol=1e-9)
    random = torch.Generator().manual_seed(0)
    true = effects(images, x, alpha, spread, weights, region, draws=1, random=random)
    assert true.shape == (4, 6, grammar.length)
    expected = (without - output[:, None]).abs()
    assert torch.allclose(true[EFFECTS.index("marginalised")], expected, rtol=0, atol=1e-9)
    variation = (symbols - posterior[:, None]).abs().sum(-1) / 2
    found = true[EFFECTS.index("posterior-marginalised")]
    assert torch.allclose(found, variation, rtol=0, atol=1e-9)
    assert expected.max() > 0.1


@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(4).build(), DyckConfig(4, 1).build(), ModularSumConfig(3, 3, 3).build()],
)
def test_other_pixels_in_a_cell_are_another_image(grammar: Grammar) -> None:
    """What the conditionals give for new evidence is the Bayes output at the changed image."""
    images, region = world(grammar), 1
    x, weights = asked(images, 5, 0.7, region)
    other = x.flip(0)
    alpha, sigma = scales(0.8), scales(0.7)
    found = conditionals(images, x, alpha, sigma, weights, region)
    outputs, symbols = found.given(images.glyph_evidence(other, alpha, sigma))
    for j in range(grammar.length):
        cells = images.cells(x).clone()
        cells[:, j] = images.cells(other)[:, j]
        changed = images.image(cells)
        output, posterior, *_ = enumerated(images, changed, 0.8, 0.7, weights, region)
        assert torch.allclose(outputs[:, j], output, rtol=0, atol=1e-9)
        assert torch.allclose(symbols[:, j], posterior, rtol=0, atol=1e-9)


def test_redrawing_is_sampling_the_cell_given_the_others() -> None:
    """Against words drawn from the posterior without cell j, drawn and denoised one by one."""
    images, region, draws = world(ModularSumConfig(3, 3, 3).build()), 1, 5000
    x, weights = asked(images, 1, 0.7, region)
    alpha, sigma = scales(0.8), scales(0.7)
    true = effects(
        images, x, alpha, sigma, weights, region, draws=2000, random=generator(0, "truth")
    )
    output, posterior, *_ = enumerated(images, x, 0.8, 0.7, weights, region)
    random = torch.Generator().manual_seed(3)
    for j in range(3):
        scores = images.evidence(x, alpha, sigma).expand(draws, -1, -1).clone()
        scores[:, j] = 0
        words = images.grammar.sample(draws, random, scores=scores)
        clean = images.draw(words, random).double()
        drawn = 0.8 * clean + 0.7 * torch.randn(clean.shape, generator=random).double()
        cells = images.cells(x).repeat(draws, 1, 1, 1, 1)
        cells[:, j] = images.cells(drawn)[:, j]
        expanded = weights.expand(draws, -1, -1, -1)
        outputs, symbols, *_ = enumerated(images, images.image(cells), 0.8, 0.7, expanded, region)
        for name, moved in (
            ("redrawn", (outputs - output).abs()),
            ("posterior-redrawn", (symbols - posterior).abs().sum(-1) / 2),
        ):
            error = 4 * moved.std() / draws**0.5 + 0.02 * moved.mean()
            assert abs(true[EFFECTS.index(name), 0, j] - moved.mean()) < error


def test_a_parity_hides_as_much_whichever_other_cell_is_missing() -> None:
    images = world(ParityConfig(4).build(), variants=1)
    x, weights = asked(images, 8, 0.7, 1)
    alpha, sigma = scales(0.8), scales(0.7)
    true = effects(images, x, alpha, sigma, weights, 1, draws=16, random=generator(0, "truth"))
    others = true[1][:, [0, 2, 3]]
    assert torch.allclose(others, others[:, :1].expand(-1, 3), atol=1e-12)
    maps = torch.rand(8, 4)
    assert truthfulness(maps, true[1], 1, others=True).isnan().all()  # no order to be right about
    assert truthfulness(maps, true[0], 1, others=True).isfinite().any()


def test_truthfulness_is_spearmans_correlation_over_the_cells_asked_for() -> None:
    random = torch.Generator().manual_seed(0)
    maps, truth = torch.rand(4, 5, 6, generator=random).double().split([3, 1])
    truth = truth[0]
    for others, kept in ((True, [0, 1, 3, 4, 5]), (False, list(range(6)))):
        found = truthfulness(maps, truth, 2, others=others)
        expected = [
            [spearmanr(a[kept], b[kept]).statistic for a, b in zip(m, truth, strict=True)]
            for m in maps
        ]
        assert torch.allclose(found, torch.tensor(expected).double())
        itself = torch.stack([truth, 1 - truth])
        itself = truthfulness(itself, truth, 2, others=others)
        assert torch.allclose(itself, torch.tensor([[1.0], [-1.0]]).double())
    # What differs by rounding alone, even where it lies on either side of a boundary, is a tie.
    same = truth.new_full((5, 6), 0.5) + 1e-6 * (truth - 0.5)
    size = torch.full((5,), 10.0)
    assert (truthfulness(same, truth, 2, others=True, size=size) == 0).all()
    assert torch.allclose(
        truthfulness(truth, truth, 2, others=True, size=size), torch.ones(5).double()
    )
    nothing = torch.zeros(5, 6)
    nothing[:, 2] = 1
    assert (truthfulness(nothing, truth, 2, others=True) == 0).all()
    # Nor are effects of a millionth in any order.
    faint = truth.clone()
    faint[:, 3:] *= 1e-7
    right = faint.clone()
    right[:, 3:] = 0
    assert torch.equal(
        truthfulness(maps, faint, 2, others=True), truthfulness(maps, right, 2, others=True)
    )
    dust = truth.clone()
    dust[3] *= 1e-4
    found = truthfulness(maps, dust, 2, others=True)
    assert found[:, 3].isnan().all()
    assert found[:, [0, 1, 2, 4]].isfinite().all()


def test_the_own_cell_alone_scores_as_guesses_of_the_others_do() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.rand(4, 5, generator=random).double()
    orders = torch.tensor(list(itertools.permutations(range(4)))).double()
    guesses = torch.cat([orders[:, :2], torch.full((24, 1), 9.0).double(), orders[:, 2:]], 1)
    expected = [
        sum(spearmanr(guess, row).statistic for guess in guesses) / len(guesses) for row in truth
    ]
    assert torch.allclose(own_cell_alone(truth, 2), torch.tensor(expected).double())
    assert truth[:, 2].argmax() != 2  # not first in each of them


@pytest.fixture(scope="module")
def judged() -> tuple[maps.Attribution, Truth]:
    settings = AttributionConfig(images=96, metric_images=0, shapley_samples=4)
    common = ProbeConfig(region=0)
    oracles = {
        "bayes": BayesDenoiser(BRACKETS, SCHEDULER),
        "product": ProductDenoiser(BRACKETS, SCHEDULER),
    }
    methods = ("occlusion", "feature-ablation", "shapley")
    common = replace(common, region=1)
    bayes = maps.measure(oracles["bayes"], BRACKETS, settings, common, t=300, methods=methods)
    return bayes, judging.judge(bayes, BRACKETS, oracles, settings, common)


def test_the_effect_drawn_again_is_first_and_nulls_score_chance(
    judged: tuple[maps.Attribution, Truth],
) -> None:
    _, truth = judged
    assert truth.methods == (
        "occlusion",
        *(f"{m}-{b}" for m in ("feature-ablation", "shapley") for b in BASELINES),
    )
    assert truth.cell_sums.shape == (7, 96, 8)
    assert truth.control("effect drawn again").value > 0.97
    assert truth.control("effect drawn again", others=False).value > 0.97
    assert truth.control("random map").contains(0.0)
    assert truth.control("product").value == 0
    # Ablation tells of dependence what a random map does not; cells in another order do not.
    found = truth.score()
    assert found.low[0] > 0.5
    assert torch.equal(found.value[0], found.value[1])  # occlusion is ablation from zeros
    moved = replace(truth, cell_sums=truth.cell_sums.roll(3, -1))
    assert (moved.score().value < found.value - 0.3)[:4].all()
    shared = replace(truth, sources=torch.arange(96) // 8)
    assert (shared.score().n <= 12).all()
    assert shared.control("random map").n <= 12


def test_product_maps_say_nothing_of_other_cells() -> None:
    product = ProductDenoiser(BRACKETS, SCHEDULER)
    settings = AttributionConfig(images=12, metric_images=0, integration_steps=8)
    common = ProbeConfig(region=1)
    result = maps.measure(product, BRACKETS, settings, common, t=300)
    x_t = noisy_inputs(product, BRACKETS, 12, 300, 0)
    truth = torch.rand(len(x_t), 8, generator=torch.Generator().manual_seed(0)).double()
    assert (truthfulness(result.cell_sums, truth, 1, others=True) == 0).all()


def test_scores_and_chance_lines_are_drawn(judged: tuple[maps.Attribution, Truth]) -> None:
    _, truth = judged
    for others in (True, False):
        ax = plot_truth(truth, Figure().subplots(), others=others)
        values = torch.cat([torch.as_tensor(c.lines[0].get_xdata()) for c in ax.containers])
        expected = [*truth.score(others=others).value.tolist()]
        expected += [truth.control(name, others=others).value.item() for name in truth.controls]
        assert values.tolist() == pytest.approx(expected)
        reach = [s for c in ax.containers for s in c.lines[2][0].get_segments()]
        found = truth.score(others=others)
        assert reach[0][:, 0].tolist() == pytest.approx([found.low[0].item(), found.high[0].item()])
        assert ax.lines[-2].get_xdata()[0] == pytest.approx(truth.chance(others=others))
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels == [TITLES[m] for m in truth.methods] + [CONTROLS[c] for c in truth.controls]
        assert ax.yaxis_inverted()
    assert truth.chance(others=True) == 0
    assert 0 < truth.chance(others=False) <= 3 / 9


def test_intervals_of_the_scores_cover(judged: tuple[maps.Attribution, Truth]) -> None:
    """The mean over a pool lies in 95 % of the intervals of 64 images drawn from it."""
    _, truth = judged
    pool = truth.score()
    random = torch.Generator().manual_seed(0)
    hits = []
    for _ in range(400):
        chosen = torch.randint(0, 96, (64,), generator=random)
        some = replace(
            truth,
            cell_sums=truth.cell_sums[:, chosen],
            effects=truth.effects[:, chosen],
            size=truth.size[chosen],
        )
        hits.append(some.score().contains(pool.value))
    covered = torch.stack(hits).double().mean(0)
    assert ((covered > 0.92) & (covered < 0.98)).all(), covered
