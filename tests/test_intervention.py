from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, ImageSet, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.intervention import InterventionConfig, beside, changes, figures
from diffprobe.probing.regions import Regions

SCHEDULER = noise_scheduler(NoiseConfig())
CUBE = hypercube(ParityConfig(4).build())
SETTINGS = InterventionConfig(images=4000)
COMMON = ProbeConfig(batch_size=1000, images=16)
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
    noise = changes.measure(linear, CUBE, SETTINGS, COMMON, t=300)
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
    symbol = changes.measure(linear, CUBE, SETTINGS, COMMON, t=300, kind="symbol")
    assert torch.allclose(symbol.matrix.float(), 4 * alpha**2 * MATRIX.square(), rtol=1e-4)
    assert symbol.local_share.value.item() == pytest.approx(15 / 23, rel=1e-5)
    assert symbol.settings["images"] == 4000


def test_the_optimum_of_parity_answers_elsewhere_and_the_product_does_not() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4), variants=2), (2, 2))
    settings = replace(SETTINGS, images=100)
    bayes = changes.measure(
        BayesDenoiser(world, SCHEDULER), world, settings, COMMON, t=250, kind="symbol"
    )
    product = changes.measure(
        ProductDenoiser(world, SCHEDULER), world, settings, COMMON, t=250, kind="symbol"
    )
    assert product.local_share.value.item() == pytest.approx(1.0)
    assert bayes.local_share.high < 0.95
    # Batches are only a matter of memory.
    one = changes.measure(
        BayesDenoiser(world, SCHEDULER),
        world,
        settings,
        replace(COMMON, batch_size=7),
        t=250,
        kind="symbol",
    )
    assert torch.allclose(one.matrix, bayes.matrix, rtol=1e-5)


def test_the_rest_of_the_image_is_changed_too() -> None:
    """One pixel of four: what the other three do to it counts."""
    one = Regions.of_boxes((1, 1, 4), [(0, 3, 1, 1)])
    result = changes.measure(
        Linear(MATRIX), CUBE, SETTINGS, COMMON, t=300, kind="symbol", regions=one
    )
    assert result.matrix.shape == (2, 2)
    assert result.local_share.value.item() < 0.5
    alone = Linear(torch.diag(torch.tensor([1.0, 1, 1, 5])))
    local = changes.measure(alone, CUBE, SETTINGS, COMMON, t=300, kind="symbol", regions=one)
    assert local.local_share.value.item() == pytest.approx(1)
    assert local.matrix[0, 1] == 0


def test_symbols_need_a_dataset() -> None:
    images = ImageSet(torch.zeros(2, 1, 4, 4), "blank")
    with pytest.raises(UsageError, match="only where a dataset says"):
        changes.measure(Linear(torch.eye(16)), images, SETTINGS, COMMON, t=1, kind="symbol")
    with pytest.raises(UsageError, match=r"intervention\.images must be at least 2"):
        replace(SETTINGS, images=1)
    with pytest.raises(UsageError, match="t=-1 is outside"):
        changes.measure(Linear(MATRIX), CUBE, SETTINGS, COMMON, t=-1)


def test_the_figure_divides_columns() -> None:
    result = changes.measure(Linear(MATRIX), CUBE, SETTINGS, COMMON, t=300)
    shown = figures.plot(result, Figure().subplots()).images[0].get_array()
    assert torch.allclose(torch.as_tensor(shown).sum(0), torch.ones(4).double())


def test_shares_are_over_the_inputs_at_which_the_optimum_depends_on_anything() -> None:
    settings, common = replace(SETTINGS, images=200), replace(COMMON, batch_size=200)
    results = {
        name: changes.measure(denoiser, CUBE, settings, common, t=150)
        for name, denoiser in (
            ("network-noise", Linear(MATRIX)),
            ("bayes-noise", BayesDenoiser(CUBE, SCHEDULER)),
        )
    }
    compared = beside.beside_the_optimum(results)
    counts = {int(result.local_share.n) for result in compared.values()}
    assert len(counts) == 1
    assert 10 < counts.pop() < 200
