from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import NoiseConfig, ProbeConfig
from diffprobe.datasets import Glyphs, ImageSet, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes import intervention, sensitivity
from diffprobe.probes.jacobian import exact_jacobian
from diffprobe.probes.noise_levels import noisy_inputs
from diffprobe.probes.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
CUBE = hypercube(ParityConfig(4).build())
CONFIG = ProbeConfig(intervention_images=4000, batch_size=1000, images=16, projections=0)
MATRIX = torch.tensor(
    [[2.0, 1.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0]]
)


class Linear(Denoiser):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SCHEDULER)
        self.matrix = matrix

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


def test_a_linear_map_changes_as_its_matrix_says() -> None:
    linear = Linear(MATRIX)
    alpha, sigma = (a.item() for a in linear.alpha_sigma(torch.tensor([300])))
    noise = intervention.measure(linear, CUBE, CONFIG, t=300)
    expected = 2 * sigma**2 * MATRIX.square()
    assert torch.allclose(noise.matrix.float(), expected, rtol=0.15)
    # Of each input: the change in a cell is the matrix' entry times that of its noise.
    random = torch.Generator().manual_seed(0)
    squares = MATRIX.square().double() * torch.randn(10**6, 1, 4, generator=random).square()
    share = (squares.diagonal(dim1=1, dim2=2).sum(1) / squares.sum((1, 2))).mean().item()
    assert noise.local_share.value.item() == pytest.approx(
        share, abs=4 * noise.local_share.standard_error.item()
    )
    assert noise.shares.value.sum().item() == pytest.approx(1)
    # The other sign is always 2 away.
    symbol = intervention.measure(linear, CUBE, CONFIG, t=300, kind="symbol")
    assert torch.allclose(symbol.matrix.float(), 4 * alpha**2 * MATRIX.square(), rtol=1e-4)
    assert symbol.local_share.value.item() == pytest.approx(15 / 23, rel=1e-5)
    assert symbol.settings["images"] == 4000


def test_the_optimum_of_parity_answers_elsewhere_and_the_product_does_not() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4), variants=2), (2, 2))
    config = replace(CONFIG, intervention_images=100)
    bayes = intervention.measure(
        BayesDenoiser(world, SCHEDULER), world, config, t=250, kind="symbol"
    )
    product = intervention.measure(
        ProductDenoiser(world, SCHEDULER), world, config, t=250, kind="symbol"
    )
    assert product.local_share.value.item() == pytest.approx(1.0)
    assert bayes.local_share.high < 0.95
    # Batches are only a matter of memory.
    one = intervention.measure(
        BayesDenoiser(world, SCHEDULER), world, replace(config, batch_size=7), t=250, kind="symbol"
    )
    assert torch.allclose(one.matrix, bayes.matrix, rtol=1e-5)


def test_the_rest_of_the_image_is_changed_too() -> None:
    """One pixel of four: what the other three do to it counts."""
    one = Regions.of_boxes((1, 1, 4), [(0, 3, 1, 1)])
    result = intervention.measure(Linear(MATRIX), CUBE, CONFIG, t=300, kind="symbol", regions=one)
    assert result.matrix.shape == (2, 2)
    assert result.local_share.value.item() < 0.5
    alone = Linear(torch.diag(torch.tensor([1.0, 1, 1, 5])))
    local = intervention.measure(alone, CUBE, CONFIG, t=300, kind="symbol", regions=one)
    assert local.local_share.value.item() == pytest.approx(1)
    assert local.matrix[0, 1] == 0


def test_symbols_need_a_dataset() -> None:
    images = ImageSet(torch.zeros(2, 1, 4, 4), "blank")
    with pytest.raises(UsageError, match="only where a dataset says"):
        intervention.measure(Linear(torch.eye(16)), images, CONFIG, t=1, kind="symbol")
    few = replace(CONFIG, intervention_images=1)
    with pytest.raises(UsageError, match="intervention_images must be at least 2"):
        intervention.measure(Linear(MATRIX), CUBE, few, t=1)
    with pytest.raises(UsageError, match="t=-1 is outside"):
        intervention.measure(Linear(MATRIX), CUBE, CONFIG, t=-1)


def test_a_sensitivity_map_is_a_row_of_the_jacobian_squared() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
    bayes = BayesDenoiser(world, SCHEDULER)
    config = replace(CONFIG, region=2, batch_size=5)
    result = sensitivity.measure(bayes, world, config, t=350)
    x_t = noisy_inputs(bayes, world, 16, 350, 0)
    rows = exact_jacobian(bayes, x_t, 350).reshape(16, 8, 8, 64)[:, 4:, :4]
    squares = rows.double().square().sum((1, 2)).reshape(16, 8, 8)
    shares = squares / squares.sum((1, 2), keepdim=True)
    assert torch.allclose(result.map.value, shares.mean(0), rtol=1e-4)
    assert torch.allclose(result.map.standard_error, shares.std(0) / 4, rtol=1e-4)
    inside = shares[:, 4:, :4].sum((1, 2)).mean().item()
    assert result.local_share.value.item() == pytest.approx(inside, rel=1e-5)
    assert result.box == (4, 0, 4, 4)
    estimated = sensitivity.measure(bayes, world, replace(config, projections=64), t=350)
    assert estimated.local_share.value.item() == pytest.approx(inside, abs=0.05)
    with pytest.raises(UsageError, match="projections must be at least 2"):
        sensitivity.measure(bayes, world, replace(config, projections=1), t=350)
    with pytest.raises(UsageError, match=r"probe\.region=4 is outside 0 … 3"):
        sensitivity.measure(bayes, world, replace(config, region=4), t=350)
    shown = sensitivity.plot(result, Figure().subplots()).images[0]
    assert shown.get_array().max() == pytest.approx(result.map.value.max().item())


def test_the_figure_divides_columns() -> None:
    result = intervention.measure(Linear(MATRIX), CUBE, CONFIG, t=300)
    shown = intervention.plot(result, Figure().subplots()).images[0].get_array()
    assert torch.allclose(torch.as_tensor(shown).sum(0), torch.ones(4).double())


def test_shares_are_over_the_inputs_at_which_the_optimum_depends_on_anything() -> None:
    config = replace(CONFIG, images=200, intervention_images=200, batch_size=200)
    optimum = BayesDenoiser(CUBE, SCHEDULER)
    for probe, kind in ((intervention, "noise"), (sensitivity, None)):
        options = {"kind": kind} if kind else {}
        results = {
            name: probe.measure(denoiser, CUBE, config, t=150, **options)
            for name, denoiser in (("network-noise", Linear(MATRIX)), ("bayes-noise", optimum))
        }
        if kind is None:
            results = {name.split("-")[0]: result for name, result in results.items()}
        compared = probe.beside_the_optimum(results)
        counts = {int(result.local_share.n) for result in compared.values()}
        assert len(counts) == 1
        assert 10 < counts.pop() < 200
