import itertools
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from captum.attr import IntegratedGradients
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import spearmanr
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import Glyphs, ImageSet, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.ranks import rank_correlation
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig, figures, maps
from diffprobe.probes.attribution import words as attribution_words
from diffprobe.probes.attribution.methods import (
    BASELINES,
    METHODS,
    TITLES,
    Question,
    from_every_baseline,
)
from diffprobe.probes.attribution.truth import Truth
from diffprobe.probing.cache import Keep
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.opening import subject_of
from diffprobe.probing.precision import FIRST, PRECISION
from diffprobe.probing.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 5)), (2, 2))
SETTINGS = AttributionConfig(images=4, integration_steps=64, shapley_samples=6)
COMMON = ProbeConfig(region=1)
BAYES = BayesDenoiser(WORLD, SCHEDULER)


class Polynomial(Denoiser):
    """x0_hat = A x_t + c (A x_t)² + d (A x_t)³, whose attributions have closed forms."""

    def __init__(self, pixels: int = 80, curvature: float = 0.0, cubic: float = 0.0) -> None:
        super().__init__(SCHEDULER)
        random = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(pixels, pixels, generator=random) / pixels**0.5
        self.curvature, self.cubic = curvature, cubic

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        linear = (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)
        return linear + self.curvature * linear.square() + self.cubic * linear**3


def output(denoiser: Denoiser, x: Tensor, t: int, mask: Tensor) -> Tensor:
    return (denoiser(x, torch.full((len(x),), t)) * mask).sum((1, 2, 3))


def baseline(name: str, denoiser: Denoiser, t: int) -> Tensor:
    x_t = noisy_inputs(denoiser, WORLD, 4, t, 0)
    if name == "noisy-image":
        return noisy_inputs(denoiser, WORLD, 4, t, 0, block=1)
    alpha, _ = denoiser.alpha_sigma(torch.tensor([t]))
    # Every symbol of a parity word is as often 0 as 1.
    cells = WORLD.glyphs.images.mean((0, 1)).expand(1, 4, -1, -1, -1)
    return {"zeros": torch.zeros_like(x_t), "prior-mean": alpha * WORLD.image(cells)}[
        name
    ].expand_as(x_t)


def by_name(result: maps.Attribution) -> dict[str, Tensor]:
    return dict(zip(result.methods, result.maps, strict=True))


def test_a_linear_map_is_attributed_in_closed_form() -> None:
    linear = Polynomial()
    result = maps.measure(linear, WORLD, SETTINGS, COMMON, t=500)
    found, mask = by_name(result), Regions.cells(WORLD).masks[1]
    assert set(found) == set(AttributionConfig().methods)
    assert set(METHODS) == set(TITLES) == set(found) | set(from_every_baseline(found))
    assert result.maps.shape == (8, 4, 1, 8, 10)
    assert result.cell_sums.shape == (8, 4, 4)
    assert torch.equal(result.x_t, noisy_inputs(linear, WORLD, 4, 500, 0))
    assert torch.equal(result.mask, mask)
    assert result.cells[1] == "cell 1"
    gradient = (mask.flatten().float() @ linear.matrix).reshape(1, 1, 8, 10)
    assert torch.allclose(found["saliency"], gradient.abs().expand_as(result.x_t), atol=1e-5)
    assert torch.allclose(found["input-x-gradient"], gradient * result.x_t, atol=1e-5)
    for name in BASELINES:
        expected = gradient * (result.x_t - baseline(name, linear, 500))
        assert torch.allclose(found[f"integrated-gradients-{name}"], expected, atol=1e-4)
    # All that a cell changes, evenly over its 20 pixels; and for a linear map in any order.
    for method, name in (
        ("occlusion", "zeros"),
        ("feature-ablation", "noisy-image"),
        ("shapley", "noisy-image"),
    ):
        cells = WORLD.cells(gradient * (result.x_t - baseline(name, linear, 500)))
        even = WORLD.image(cells.mean((2, 3, 4), keepdim=True).expand_as(cells))
        assert torch.allclose(found[method], even, atol=1e-5)
    assert result.cell_error.max() < 1e-5


@pytest.mark.parametrize("name", BASELINES)
def test_ablation_and_shapley_values_equal_those_by_brute_force(name: str) -> None:
    curved = Polynomial(curvature=0.5)
    masks = Regions.cells(WORLD).masks
    x, b = noisy_inputs(curved, WORLD, 4, 500, 0), baseline(name, curved, 500)
    # Sixteen coalitions of four cells cost no more than six orders.
    result = maps.measure(
        curved,
        WORLD,
        replace(SETTINGS, baseline=name),
        COMMON,
        t=500,
        methods=("feature-ablation", "shapley"),
    )
    ablation, shapley = WORLD.cells(result.maps.flatten(0, 1)).sum((2, 3, 4)).reshape(2, 4, 4)

    def value(cells: tuple[int, ...]) -> Tensor:
        kept = masks[list(cells)].any(0)
        return output(curved, torch.where(kept, x, b), 500, masks[1])

    orders = torch.zeros(4, 4)
    for order in itertools.permutations(range(4)):
        for place, cell in enumerate(order):
            orders[:, cell] += (value(order[: place + 1]) - value(order[:place])) / 24
    everything = value((0, 1, 2, 3))
    for cell in range(4):
        rest = tuple(c for c in range(4) if c != cell)
        assert torch.allclose(ablation[:, cell], everything - value(rest), atol=1e-4)
    assert torch.allclose(shapley, orders, atol=1e-4)
    assert (result.cell_error == 0).all()
    assert torch.allclose(result.maps[1].sum((1, 2, 3)), everything - value(()), atol=1e-3)
    assert result.delta[1].abs().max() < 1e-3


def test_shapley_values_of_random_orders_are_right_within_their_error() -> None:
    """Of ten parts, whose 1,024 coalitions cost more than 64 orders; and it is said which."""
    regions = Regions.grid((1, 8, 10), 2, 5)

    def measured(denoiser: Denoiser, samples: int) -> maps.Attribution:
        return maps.measure(
            denoiser,
            WORLD,
            replace(SETTINGS, shapley_samples=samples, metric_images=0),
            COMMON,
            t=500,
            regions=regions,
            methods=("shapley",),
        )

    cubic = Polynomial(curvature=0.5, cubic=0.5)
    few, many = (measured(cubic, samples) for samples in (64, 104))
    # Efficiency: exact in every order.
    assert few.delta.abs().max() < 1e-3
    # What two cells do together is no chance where each order is followed by its reverse.
    of_pairs, exact = (measured(Polynomial(curvature=0.5), samples) for samples in (4, 104))
    assert torch.allclose(of_pairs.maps, exact.maps, atol=1e-5)
    assert of_pairs.cell_error.max() < 1e-4 < few.cell_error.min()
    assert few.settings["shapley"] == "64 random orders"
    content = AttributionConfig().summary({"network": few})
    (words,) = (line for line in attribution_words.lines(content) if "random orders" in line)
    assert words.startswith("  Shapley values: from 64 random orders of cells, each value off by ")
    assert many.settings["shapley"] == "exact"
    values, truth = (r.maps[0].flatten(1) @ regions.masks.flatten(1).float().T for r in (few, many))
    off = (values - truth) / few.cell_error[0]
    assert (few.cell_error > 0).all()
    assert 0.6 < off.square().mean().sqrt() < 1.4
    assert (many.cell_error == 0).all()


def test_the_shapley_error_is_the_spread_over_repeats() -> None:
    curved = Polynomial(cubic=0.5)
    masks, x = Regions.grid((1, 8, 10), 1, 5).masks, noisy_inputs(curved, WORLD, 4, 500, 0)
    question = Question(
        output=lambda x, weights: output(curved, x, 500, weights),
        x=x,
        weights=masks[1].expand_as(x),
        baselines={"zeros": torch.zeros_like(x)},
        owner=masks.int().argmax(0)[None],
        window=None,
        settings=AttributionConfig(baseline="zeros", shapley_samples=6),
        common=ProbeConfig(),
    )
    repeats = [
        METHODS["shapley"](replace(question, common=replace(question.common, seed=seed)))
        for seed in range(400)
    ]
    of_cells = masks.flatten(1).float().T
    values = torch.stack([maps.flatten(1) @ of_cells for maps, _, _ in repeats])
    claimed = torch.stack([error for *_, error in repeats]).square().mean(0).sqrt()
    assert torch.allclose(values.std(0), claimed, rtol=0.2)


def test_integrated_gradients_are_complete_and_their_delta_is_captums() -> None:
    mask = Regions.cells(WORLD).masks[1]
    for steps, smallest, largest in ((64, 0, 1e-4), (1, 1e-2, 10)):
        settings = replace(SETTINGS, integration_steps=steps)
        result = maps.measure(
            BAYES,
            WORLD,
            settings,
            COMMON,
            t=400,
            methods=[f"integrated-gradients-{b}" for b in BASELINES],
        )
        for i, name in enumerate(BASELINES):
            ends = [output(BAYES, x, 400, mask) for x in (result.x_t, baseline(name, BAYES, 400))]
            error = result.maps[i].sum((1, 2, 3)) - (ends[0] - ends[1])
            assert torch.allclose(result.delta[i], error, atol=1e-4)
            expected = error.abs().mean() / (ends[0] - ends[1]).abs().mean()
            assert result.incompleteness[i].item() == pytest.approx(expected.item(), abs=1e-5)
            assert smallest <= result.incompleteness[i] < largest
    theirs = IntegratedGradients(lambda x: output(BAYES, x, 400, mask)).attribute(
        result.x_t, n_steps=1
    )
    assert torch.allclose(result.maps[0], theirs, atol=1e-5)
    incomplete = maps.measure(
        BAYES, WORLD, SETTINGS, COMMON, t=400, methods=("saliency", "occlusion")
    )
    assert incomplete.delta.isnan().all()
    assert incomplete.incompleteness.isnan().all()


def test_occlusion_is_ablation_from_zeros_whatever_the_regions() -> None:
    zeros = replace(SETTINGS, baseline="zeros")
    zeros_common = replace(COMMON, region=0)
    uneven = Regions.of_boxes((1, 8, 10), [(0, 0, 3, 4), (4, 2, 4, 5)])
    for regions in (Regions.cells(WORLD), Regions.grid((1, 8, 10), 3, 3), uneven):
        result = maps.measure(
            BAYES,
            WORLD,
            zeros,
            zeros_common,
            t=400,
            regions=regions,
            methods=("occlusion", "feature-ablation"),
        )
        assert torch.allclose(*result.maps, atol=1e-6)
        assert result.maps.abs().max() > 0
    assert result.cells == ("box 0", "box 1", "rest")
    rest = ~uneven.masks.any(0)
    changed = torch.where(rest, 0, result.x_t)
    lost = output(BAYES, result.x_t, 400, uneven.masks[0]) - output(
        BAYES, changed, 400, uneven.masks[0]
    )
    assert torch.allclose((result.maps[0] * rest).sum((1, 2, 3)), lost, atol=1e-5)
    assert torch.allclose(result.cell_sums[0, :, 2], lost.abs(), atol=1e-5)


def test_the_product_oracle_listens_to_its_own_cell_alone_and_bayes_does_not() -> None:
    settings = replace(SETTINGS, images=16)
    product = maps.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, settings, COMMON, t=400)
    found = product.local_share
    assert torch.allclose(found.value, torch.ones(8).double(), atol=1e-5)
    assert (found.standard_error < 1e-5).all()
    assert torch.allclose(found.low, found.value - 1e-3)  # told to three digits, no further
    bayes = maps.measure(BAYES, WORLD, settings, COMMON, t=400)
    share, error = bayes.local_share.value, bayes.local_share.standard_error
    assert (share[[0, 1, 4]] < 0.9).all()
    assert (error > 0).all()
    inside = bayes.maps[0, :, :, :4, 5:].abs().sum((1, 2, 3))
    ratio = inside / bayes.maps[0].abs().sum((1, 2, 3))
    told = bayes.shares[0].isfinite()
    assert torch.allclose(bayes.shares[0][told], ratio[told])
    assert share[0].item() == pytest.approx(ratio[told].mean().item(), abs=1e-6)
    n = int(told.sum())
    assert error[0].item() == pytest.approx((ratio[told].std() / n**0.5).item(), rel=1e-4)


def test_what_is_negligible_is_not_ranked() -> None:
    """Where an output is certain, attributions are rounding errors, and have no order."""
    result = maps.measure(Polynomial(), WORLD, SETTINGS, COMMON, t=500)
    sums = result.cell_sums.clone()
    sums[:, 0] *= 1e-8
    dust = replace(result, cell_sums=sums)
    assert dust.shares[:, 0].isnan().all()
    kept = replace(result, cell_sums=sums[:, 1:], size=result.size[1:])
    assert torch.allclose(dust.agreement.value, kept.agreement.value)
    assert (dust.agreement.n == 3).all()
    # Nor does it matter what the other images are.
    large = replace(result, cell_sums=result.cell_sums * torch.tensor([1e6, 1, 1, 1])[:, None])
    assert torch.allclose(large.shares, result.shares)
    rising = torch.tensor([[[1.0, 2e-8, 1e-8, 0]], [[1.0, 1e-8, 2e-8, 0]]])
    assert replace(result, cell_sums=rising, size=torch.ones(1)).agreement.value[
        0, 1
    ] == pytest.approx(1)


def test_rank_correlation_is_scipys() -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.randint(0, 5, (20, 7), generator=random).double()  # with ties
    b = torch.randn(20, 7, generator=random).double()
    expected = torch.tensor([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    assert torch.allclose(rank_correlation(a, b), expected)
    assert rank_correlation(a[:, None], b[None]).shape == (20, 20)
    assert rank_correlation(torch.ones(3), torch.arange(3.0)).isnan()
    assert rank_correlation(torch.tensor([1, math.nan, 2]), torch.arange(3.0)).isnan()


def test_chance_is_the_agreement_about_the_own_cell_alone() -> None:
    result = maps.measure(Polynomial(), WORLD, SETTINGS, COMMON, t=500, methods=("saliency",))
    first = torch.tensor([9.0, 1, 2, 3])
    orders = torch.tensor([(9.0, *order) for order in itertools.permutations((1, 2, 3))])
    mean = rank_correlation(first, orders).mean().item()
    assert result.chance == pytest.approx(mean)


def test_agreement_is_the_mean_over_images_of_spearmans_correlation() -> None:
    settings = replace(SETTINGS, images=12)
    network = maps.measure(Polynomial(curvature=0.5), WORLD, settings, COMMON, t=300)
    bayes = maps.measure(BAYES, WORLD, settings, COMMON, t=500)
    value, error = network.agreement.value, network.agreement.standard_error
    assert torch.allclose(value, value.T)
    assert torch.allclose(value.diagonal(), torch.ones(8).double())
    cells = [WORLD.cells(m.abs()).sum((2, 3, 4)) for m in network.maps]
    expected = torch.tensor(
        [spearmanr(a, b).statistic for a, b in zip(cells[0], cells[7], strict=True)]
    )
    assert value[0, 7] == pytest.approx(expected.mean().item())
    assert error[0, 7] == pytest.approx((expected.std() / 12**0.5).item())

    with pytest.raises(UsageError, match="same methods, region and inputs"):
        maps.agreement_between(network, bayes)
    with pytest.raises(UsageError, match="same methods, region and inputs"):
        maps.excess_share(network, bayes)
    bayes = maps.measure(BAYES, WORLD, settings, COMMON, t=300)
    itself = maps.agreement_between(network, network)
    assert torch.allclose(itself.value, torch.ones(8).double())
    assert (itself.standard_error < 1e-6).all()
    excess = maps.excess_share(network, bayes)
    paired = network.shares - bayes.shares
    assert excess.value[4].item() == pytest.approx(paired[4].nanmean().item())


def test_images_of_the_same_picture_are_no_new_evidence() -> None:
    settings = replace(SETTINGS, images=24)
    result = maps.measure(BAYES, WORLD, settings, COMMON, t=400, methods=("saliency", "occlusion"))
    told = result.shares[0].isfinite()
    shared = replace(result, sources=torch.arange(24) // 2)
    assert shared.local_share.n[0] == len(shared.sources[told].unique()) < result.local_share.n[0]
    for name in ("local_share", "agreement", "sensitivity", "infidelity"):
        assert (getattr(shared, name).n <= 12).all()
    assert (maps.excess_share(shared, shared).n <= 12).all()
    assert (maps.agreement_between(shared, shared).n <= 12).all()


def test_intervals_of_shares_and_agreement_cover() -> None:
    """What 600 images give on average lies in 95 % of the intervals of 64 drawn from them."""
    settings = replace(SETTINGS, images=600, metric_images=0)
    common = replace(COMMON, batch_size=600)
    pool = maps.measure(
        BAYES, WORLD, settings, common, t=400, methods=("saliency", "feature-ablation")
    )
    random = torch.Generator().manual_seed(0)
    share, agreement = pool.local_share.value, pool.agreement.value[0, 1]
    hits = []
    for _ in range(400):
        chosen = torch.randint(0, 600, (64,), generator=random)
        some = replace(pool, cell_sums=pool.cell_sums[:, chosen], size=pool.size[chosen])
        agreed = some.agreement[0, 1]
        hits.append([*some.local_share.contains(share).tolist(), agreed.contains(agreement)])
    covered = torch.tensor(hits).double().mean(0)
    assert ((covered > 0.92) & (covered < 0.98)).all(), covered


def test_contrast_tells_symbols_of_equal_ink_apart() -> None:
    """Exchanging a cell's likeliest glyph for the second changes F by one."""
    brackets = SymbolImages(DyckConfig(4, 1).build(), Glyphs.font("()", (8, 8)), (1, 4))
    product = ProductDenoiser(brackets, SCHEDULER)
    contrast = replace(SETTINGS, output="contrast")
    result = maps.measure(product, brackets, contrast, COMMON, t=150, methods=("shapley",))
    clean = maps.measure(product, brackets, SETTINGS, COMMON, t=150, methods=("shapley",))
    words = result.x0_hat[:, 0, :, 8:16]  # at this level the product oracle is certain
    own, other = brackets.glyphs.images[:, 0, 0], brackets.glyphs.images[:, 0, 0].flip(0)
    distance = (words[:, None] - own).square().mean((2, 3))
    sure = distance.min(1)
    assert (sure.values < 1e-2).all()
    difference = (own - other)[sure.indices]
    scale = difference.square().sum((1, 2))
    b = noisy_inputs(product, brackets, 4, 150, 0, block=1)
    before = product(b, torch.full((4,), 150))[:, 0, :, 8:16].detach()
    expected = ((words - before) * difference).sum((1, 2)) / scale
    assert torch.allclose(result.maps[0].sum((1, 2, 3)), expected, atol=1e-4)
    assert expected.abs().max() == pytest.approx(1, abs=0.05)
    # The sum sees next to nothing of that: of 49 units of ink, the brackets differ in 0.02.
    assert clean.maps[0].sum((1, 2, 3)).abs().max() < 0.1

    for regions, dataset in (
        (Regions.grid((1, 8, 10), 2, 1), WORLD),
        (None, ImageSet(torch.zeros(2, 1, 8, 10), "zeros")),
    ):
        with pytest.raises(UsageError, match="'contrast' needs the cells of a dataset"):
            maps.measure(BAYES, dataset, contrast, COMMON, t=150, regions=regions)


def test_results_depend_on_the_seed_and_not_on_batches_or_the_global_generator() -> None:
    curved = Polynomial(curvature=0.5)
    before = torch.get_rng_state()
    first = maps.measure(curved, WORLD, SETTINGS, COMMON, t=500)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    again = maps.measure(curved, WORLD, SETTINGS, COMMON, t=500)
    assert torch.equal(first.maps, again.maps)
    small = maps.measure(curved, WORLD, SETTINGS, replace(COMMON, batch_size=3), t=500)
    assert torch.allclose(first.maps, small.maps, atol=1e-5)
    assert torch.allclose(first.delta, small.delta, atol=1e-4, equal_nan=True)
    assert torch.allclose(first.cell_error, small.cell_error, atol=1e-5)
    assert torch.allclose(first.metrics, small.metrics, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_images_without_a_grammar_are_attributed_from_their_mean() -> None:
    images = ImageSet(torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1)), "noise")
    linear = Polynomial(192)
    result = maps.measure(linear, images, SETTINGS, COMMON, t=300)
    assert result.maps.shape == (8, 4, 3, 8, 8)
    assert len(result.cells) == 16
    gradient = (result.mask.flatten().float() @ linear.matrix).reshape(1, 3, 8, 8)
    alpha, _ = linear.alpha_sigma(torch.tensor([300]))
    expected = gradient * (result.x_t - alpha * images.images.mean(0))
    ours = by_name(result)["integrated-gradients-prior-mean"]
    assert torch.allclose(ours, expected, atol=1e-4)


def test_the_probe_stands_beside_the_optimum(tmp_path: Path) -> None:
    kind = replace(SETTINGS, integration_steps=8)
    config = Config(probe=replace(COMMON, level=400))
    subject = subject_of(Polynomial(), WORLD, config)
    keep = Keep(tmp_path / "cache", "attribution", {})
    results = kind.measure(subject, keep)
    assert list(results) == ["network", "bayes", "truth"]
    assert torch.equal(results["network"].x_t, results["bayes"].x_t)
    kept = keep("network", maps.Attribution, lambda: pytest.fail("measured again"))
    assert torch.equal(kept.maps, results["network"].maps)
    assert kept.methods == results["network"].methods
    kind.draw(results, subject, tmp_path)
    for name in ("attribution", "attribution-agreement", "attribution-truth"):
        assert (tmp_path / f"{name}.png").is_file()
        assert (tmp_path / f"{name}.svg").is_file()
    content = kind.summary(results)
    share = results["network"].local_share.value[0].item()
    assert content["local_share"]["network"]["saliency"]["value"] == pytest.approx(share)
    assert content["region"] == "cell 1"
    assert content["region_size"] == 0.25
    assert content["shapley_error"] == {"network": 0, "bayes": 0}
    assert content["shapley"] == "exact"
    text = kind.lines(content, subject)
    assert "  Shapley values: exact, from all coalitions of cells" in text
    assert f"network {share:.3f}" in text[2]
    assert "network with bayes" in text[2]
    told = content["truth"]["bayes"]
    assert list(told["methods"]) == list(from_every_baseline(SETTINGS.methods))
    truth = results["truth"]
    again = keep("truth", Truth, lambda: pytest.fail("measured again"))
    assert torch.equal(again.effects, truth.effects)
    assert torch.equal(again.controls["random map"], truth.controls["random map"])
    for i, record in enumerate(told["methods"].values()):
        mean = truth.scores(others=False)[i].nanmean().item()
        assert record["all"]["value"] == pytest.approx(mean, nan_ok=True)
    assert sum("told the truth" in line for line in text) == 1
    assert any(line.startswith("  Shapley from zeros") for line in text)
    # What the suite has measured and what is measured for the truth alone are the same maps.
    bayes = results["bayes"]
    named = maps.measure(
        BAYES, WORLD, kind, config.probe, t=400, methods=("feature-ablation-noisy-image",)
    )
    assert torch.equal(named.cell_sums[0], truth.cell_sums[8])
    assert torch.equal(named.cell_sums[0], bayes.cell_sums[6])
    blocks = subject_of(Polynomial(), WORLD, config, regions=Regions.grid((1, 8, 10), 2, 1))
    results = kind.measure(blocks, Keep(None, "attribution", {}))
    assert list(results) == ["network", "bayes"]
    content = kind.summary(results)
    assert content["truth"] is None
    assert "cells of a grammar's images alone" in kind.lines(content, blocks)[-1]

    images = ImageSet(torch.zeros(2, 1, 8, 20), "zeros")
    some = replace(kind, methods=("saliency", "occlusion"), metric_images=2)
    alone = subject_of(Polynomial(160), images, config)
    results = some.measure(alone, Keep(None, "attribution", {}))
    assert list(results) == ["network"]
    kind.draw(results, alone, tmp_path)
    content = kind.summary(results)
    assert content["network_vs_bayes"] is None
    assert content["shapley_error"] == {"network": None}
    text = kind.lines(content, alone)
    assert len(text) == 2 + 2 + 3 + 1
    assert "cells of a grammar's images alone" in text[-1]
    quiet = replace(results["network"], metrics=results["network"].metrics[:, :0])
    assert len(kind.lines(kind.summary({"network": quiet}), alone)) == 5


def test_a_map_is_drawn_on_a_symmetric_scale_with_its_region_outlined() -> None:
    result = maps.measure(Polynomial(), WORLD, SETTINGS, COMMON, t=500)
    ax = figures.plot(result, Figure().subplots(), "shapley", index=2)
    low, high = ax.images[0].get_clim()
    assert high == -low == pytest.approx(result.maps[-1, 2].abs().max().item())
    assert figures.plot(result, Figure().subplots(), "saliency").images[0].get_clim()[0] == 0
    corners = {tuple(point) for edge in ax.collections[0].get_segments() for point in edge}
    assert {(4.5, -0.5), (9.5, -0.5), (4.5, 3.5), (9.5, 3.5)} <= corners
    assert len(ax.collections[0].get_segments()) == 2 * (4 + 5)
    with pytest.raises(UsageError, match="unknown attribution method 'shaply': did you mean"):
        figures.plot(result, ax, "shaply")


def test_no_two_entries_of_the_agreement_s_legend_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = Figure()
    monkeypatch.setattr(figures, "figure", lambda *_: nullcontext(canvas))
    shown = [maps.measure(Polynomial(), WORLD, SETTINGS, COMMON, t=500) for _ in range(2)]
    agree = maps.agreement_between(*shown)
    figures.draw_agreement(
        shown, ["one", "two"], ["#0072B2", "#000000"], agree, tmp_path / "agreement"
    )
    (legend,) = canvas.subfigs[1].legends
    looks = [
        (type(h).__name__, to_hex(h.get_color() if isinstance(h, Line2D) else h.get_facecolor()))
        + ((h.get_linestyle(),) if isinstance(h, Line2D) else ())
        for h in legend.legend_handles
    ]
    assert len(looks) == 4
    assert len(set(looks)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 1}, "probes.attribution.images must be at least 2"),
        ({"integration_steps": 0}, "integration_steps must be at least 1"),
        ({"shapley_samples": 2}, r"shapley_samples must be 4, 6, … .*not 2"),
        ({"shapley_samples": 5}, "or -1; not 5"),
        ({"redraws": 0}, "redraws must be at least 1"),
        ({"metric_images": -2}, "metric_images must be at least -1"),
        ({"methods": ("saliancy",)}, "'saliancy': did you mean 'saliency'"),
        ({"methods": ()}, "names no method"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        maps.measure(Polynomial(), WORLD, replace(SETTINGS, **change), COMMON, t=500)


def test_bad_regions_levels_and_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"probe\.region=4 is outside 0 … 3"):
        maps.measure(Polynomial(), WORLD, SETTINGS, replace(COMMON, region=4), t=500)
    with pytest.raises(UsageError, match=r"probe\.batch_size must be a positive integer, not 0"):
        maps.measure(Polynomial(), WORLD, SETTINGS, replace(COMMON, batch_size=0), t=500)
    with pytest.raises(UsageError, match=r"the regions are of images \(1, 4, 4\)"):
        maps.measure(
            Polynomial(), WORLD, SETTINGS, COMMON, t=500, regions=Regions.grid((1, 4, 4), 2, 2)
        )
    with pytest.raises(UsageError, match="outside 0 … 999"):
        maps.measure(Polynomial(), WORLD, SETTINGS, COMMON, t=1000)
    with pytest.raises(UsageError, match="output at t=500 is not finite"):
        maps.measure(Polynomial(curvature=math.nan), WORLD, SETTINGS, COMMON, t=500)


def test_without_a_grammar_as_many_images_as_the_first_methods_share_needs() -> None:

    class Varied(Denoiser):
        """x0_hat = x, and what is a half image away by as much as the image says."""

        def __init__(self, spread: float) -> None:
            super().__init__(SCHEDULER)
            self.spread = spread

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            much = 1 + self.spread * x_t.detach().mean((1, 2, 3), keepdim=True).tanh()
            return x_t + much * x_t.roll(5, -1)

    random = torch.Generator().manual_seed(0)
    pictures = ImageSet(torch.rand(70, 1, 8, 10, generator=random), "some")
    few = replace(SETTINGS, images=64, methods=("saliency", "shapley"), integration_steps=4)
    config = Config(probe=replace(COMMON, level=500))

    def measured(denoiser: Denoiser, config: Config = config) -> maps.Attribution:
        subject = subject_of(denoiser, pictures, config)
        return few.measure(subject, Keep(None, "attribution", {}))["network"]

    steady = measured(Varied(0.0))
    assert len(steady.x_t) == FIRST
    varied = measured(Varied(1.5))
    assert FIRST < len(varied.x_t) <= 64
    assert varied.local_share.standard_error[0] < 1.5 * PRECISION
    # Nor is there any truth to judge methods by: what costs more than the maps is left out.
    assert varied.metrics.shape[1] == 0
    asked = replace(config, probe=replace(config.probe, precision=1e-3, precision_images=128))
    assert len(measured(Varied(1.5), asked).x_t) == 128
    # Beside the optimum nothing changes.
    subject = subject_of(Polynomial(), WORLD, config)
    found = replace(SETTINGS, methods=("saliency",)).measure(subject, Keep(None, "attribution", {}))
    assert len(found["network"].x_t) == len(found["bayes"].x_t) == 4
    assert found["network"].metrics.shape[1] == 4
