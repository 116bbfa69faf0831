import math
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import NoiseConfig, ProbeConfig
from diffprobe.datasets import Glyphs, ImageSet, Parity, SymbolImages, hypercube
from diffprobe.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes import locality
from diffprobe.probes.ratio import local_dependency_ratio
from diffprobe.probes.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = hypercube(Parity(4))
CONFIG = ProbeConfig(images=40, levels=5, projections=0, batch_size=16)


class Linear(Denoiser):
    """x0_hat = A x_t: its Jacobian is A."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SCHEDULER)
        self.matrix = matrix

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


MATRIX = torch.tensor(
    [[2.0, 1.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0]]
)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("squared", 15 / (5 + 9 + 5 + 4)),
        ("mean-of-ratios", 15 / 23),
        ("l1", (2 + 3 + 1 + 1) / (3 + 3 + 3 + 4)),
        ("frobenius", (2 + 3 + 1 + 1) / (5**0.5 + 3 + 5**0.5 + 2)),
    ],
)
def test_a_linear_map_has_the_ratio_of_its_matrix(variant: str, expected: float) -> None:
    result = locality.measure(Linear(MATRIX), WORLD, replace(CONFIG, variant=variant))
    assert result.settings["variant"] == variant
    assert result.ldr.tolist() == pytest.approx([expected] * 5)
    assert result.ldr_error.tolist() == pytest.approx([0] * 5, abs=1e-6)
    if variant == "squared":
        assert torch.allclose(result.dependence, MATRIX.double().square().expand(5, 4, 4))


def test_projections_agree_with_the_exact_ratio_within_their_error() -> None:
    bayes = BayesDenoiser(SymbolImages(Parity(4), Glyphs.font("01", (4, 4)), (1, 4)), SCHEDULER)
    levels = torch.tensor([700, 500, 300])
    for seed in range(3):
        exact = locality.measure(bayes, bayes.dataset, replace(CONFIG, seed=seed), levels=levels)
        config = replace(CONFIG, projections=4, seed=seed)
        random = locality.measure(bayes, bayes.dataset, config, levels=levels)
        assert ((random.ldr - exact.ldr).abs() < 5 * random.ldr_error + 1e-3).all(), seed


def test_reference_values_of_the_optimum_for_four_signs() -> None:
    """The design's values: a raw LDR near 1 is no sign of a local network."""
    scheduler = noise_scheduler(NoiseConfig())
    scheduler.alphas_cumprod = torch.tensor([0.05, 0.4, 0.6, 0.8, 0.9])
    config = ProbeConfig(images=2000, projections=0, batch_size=2000)
    bayes = BayesDenoiser(WORLD, scheduler)
    result = locality.measure(bayes, WORLD, config, levels=torch.arange(5))
    reference = torch.tensor([0.993, 0.769, 0.645, 0.522, 0.500], dtype=torch.float64)
    # The reference was measured on 400 samples of its own.
    error = result.ldr_error * (1 + 2000 / 400) ** 0.5
    assert ((result.ldr - reference).abs() < 3 * error + 5e-4).all(), result.ldr


def test_the_standard_error_is_the_spread_of_repetitions() -> None:
    levels = torch.tensor([400])
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    runs = [
        locality.measure(bayes, WORLD, replace(CONFIG, seed=s), levels=levels) for s in range(60)
    ]
    spread = torch.stack([r.ldr for r in runs]).std().item()
    claimed = torch.stack([r.ldr_error for r in runs]).square().mean().sqrt().item()
    assert 0.75 < claimed / spread < 1.35


def test_the_product_oracle_is_perfectly_local() -> None:
    result = locality.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, CONFIG)
    known = result.ldr.isfinite()
    assert known.any()
    assert torch.allclose(result.ldr[known], torch.ones_like(result.ldr[known]))


def test_the_excess_is_paired() -> None:
    bayes = locality.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, CONFIG)
    product = locality.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, CONFIG)
    value, error = locality.excess(product, bayes)
    known = value.isfinite()
    assert (value[known] > -1e-9).all()
    nothing, zero = locality.excess(bayes, bayes)
    assert (nothing[bayes.ldr.isfinite()] == 0).all()
    assert (zero[bayes.ldr.isfinite()] == 0).all()
    # The product oracle's own ratio does not vary, so all error is the Bayes oracle's.
    assert torch.allclose(error[known], bayes.ldr_error[known], atol=1e-9)
    other = locality.measure(Linear(MATRIX), WORLD, replace(CONFIG, seed=1))
    with pytest.raises(UsageError, match="same levels and settings"):
        locality.excess(other, bayes)


def test_what_depends_on_nothing_has_no_ratio() -> None:
    result = locality.measure(Linear(torch.zeros(4, 4)), WORLD, CONFIG)
    assert result.ldr.isnan().all()
    ratio, influence = local_dependency_ratio(torch.zeros(3, 4, 4))
    assert math.isnan(ratio)
    assert influence.shape == (3,)


@pytest.mark.parametrize("space", ["epsilon", "score"])
def test_the_jacobian_of_noise_and_score(space: str) -> None:
    """eps_hat = (x - alpha A x) / sigma, the score -eps_hat / sigma: two linear maps again."""
    levels = torch.tensor([800, 300])
    linear = Linear(MATRIX)
    result = locality.measure(linear, WORLD, replace(CONFIG, output=space), levels=levels)
    assert result.settings["output"] == space
    for i, t in enumerate(levels):
        alpha, sigma = (a.item() for a in linear.alpha_sigma(t[None], torch.float64))
        matrix = (torch.eye(4) - alpha * MATRIX.double()) / sigma
        if space == "score":
            matrix /= -sigma
        assert torch.allclose(result.dependence[i], matrix.square(), rtol=1e-4, atol=1e-9)


def test_dependence_decays_with_the_distance_of_regions() -> None:
    result = locality.measure(Linear(MATRIX), WORLD, CONFIG)
    squares = MATRIX.square()
    own = squares.diagonal().mean()
    expected = [
        torch.cat([squares.diagonal(d), squares.diagonal(-d)]).mean() / own for d in range(4)
    ]
    assert result.distances.tolist() == [0, 1, 2, 3]
    assert result.decay[2].tolist() == pytest.approx([1.0, *map(float, expected[1:])], rel=1e-5)
    assert result.decay_error.abs().max() < 1e-5
    nothing = locality.measure(Linear(torch.zeros(4, 4)), WORLD, CONFIG)
    assert nothing.decay.isnan().all()


def test_regions_of_ones_own() -> None:
    pair = Regions.of_boxes((1, 1, 4), [(0, 0, 1, 2), (0, 2, 1, 2)])
    result = locality.measure(Linear(MATRIX), WORLD, CONFIG, regions=pair)
    blocks = MATRIX.square().reshape(2, 2, 2, 2).sum((1, 3))
    assert torch.allclose(result.dependence, blocks.double().expand(5, 2, 2))
    assert result.ldr[0].item() == pytest.approx((blocks.trace() / blocks.sum()).item())


def test_a_precision_adds_inputs_where_they_are_needed() -> None:
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    config = replace(CONFIG, precision=0.005, precision_images=1000)
    levels = torch.tensor([900, 400])
    result = locality.measure(bayes, WORLD, config, levels=levels)
    assert (result.ldr_error <= 0.005).all()
    assert result.inputs[0] == 40  # nearly constant there: the first block is enough
    assert result.inputs[1] > 40
    # A smaller error is not reached: everything allowed is spent, and the error says so.
    spent = locality.measure(bayes, WORLD, replace(config, precision=1e-4), levels=levels[1:])
    assert spent.inputs.item() == 1000
    assert spent.ldr_error.item() > 1e-4
    # The optimum of another denoiser's inputs, for the excess.
    product = locality.measure(
        ProductDenoiser(WORLD, SCHEDULER), WORLD, config, levels=levels, inputs=result.inputs
    )
    value, error = locality.excess(product, result)
    assert torch.equal(product.inputs, result.inputs)
    assert torch.allclose(value, 1 - result.ldr)
    assert torch.allclose(error, result.ldr_error, atol=1e-9)


def test_images_without_a_grammar_will_do() -> None:
    random = torch.Generator().manual_seed(0)
    images = ImageSet(torch.randn(8, 1, 1, 4, generator=random), "noise")
    result = locality.measure(Linear(MATRIX), images, CONFIG)
    assert result.ldr.tolist() == pytest.approx([15 / 23] * 5)


def test_levels_are_spread_in_log_snr_and_others_included() -> None:
    result = locality.measure(Linear(MATRIX), WORLD, CONFIG, include=(123,))
    assert len(result.t) == 6
    assert 123 in result.t.tolist()
    assert (result.t.diff() < 0).all()
    assert (result.log_snr.diff() > 0).all()
    assert result.t[result.at(120)] == 123
    spread = result.log_snr[result.t != 123].diff()
    assert spread.max() < 1.3 * spread.min()


def test_figures_show_the_numbers() -> None:
    bayes = locality.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, CONFIG)
    figure = Figure()
    above, below, right = figure.subplots(3)
    (line,) = locality.plot(bayes, above).lines
    assert line.get_xdata().tolist() == bayes.log_snr.tolist()
    assert line.get_ydata().tolist() == pytest.approx(bayes.ldr.tolist(), nan_ok=True)
    assert above.get_ylabel() == "LDR (squared)"
    locality.plot_excess(bayes, bayes, below)
    image = locality.plot_dependence(bayes, right, 1).images[0]
    locality.plot_decay(bayes, Figure().subplots(), 1)
    share = bayes.dependence[1] / bayes.dependence[1].sum(1, keepdim=True)
    assert torch.allclose(torch.as_tensor(image.get_array()), share)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 1}, "probe.images must be at least 2"),
        ({"precision": -0.1}, "probe.precision must not be negative"),
        ({"levels": 0}, "noise levels must be at least 1"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"projections": -1}, "projections must be at least 1"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        locality.measure(Linear(MATRIX), WORLD, replace(CONFIG, **change))
