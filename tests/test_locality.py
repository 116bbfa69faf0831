import math
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import NoiseConfig, ProbeConfig
from diffprobe.datasets import Glyphs, Parity, SymbolImages, hypercube
from diffprobe.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes import locality
from diffprobe.probes.locality import local_dependency_ratio

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
    share = bayes.dependence[1] / bayes.dependence[1].sum(1, keepdim=True)
    assert torch.allclose(torch.as_tensor(image.get_array()), share)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 1}, "probe.images must be at least 2"),
        ({"levels": 0}, "noise levels must be at least 1"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"projections": -1}, "projections must be at least 1"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        locality.measure(Linear(MATRIX), WORLD, replace(CONFIG, **change))
