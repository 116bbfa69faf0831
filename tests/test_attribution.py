import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import NoiseConfig, ProbeConfig
from diffprobe.datasets import Glyphs, Parity, SymbolImages
from diffprobe.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes import attribution
from diffprobe.probes.noise_levels import noisy_inputs

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = SymbolImages(Parity(4), Glyphs.font("01", (4, 5)), (2, 2))
CONFIG = ProbeConfig(images=4, attribution_cell=1, attribution_steps=200)


class Linear(Denoiser):
    """x0_hat = A x_t, on whose pixels integrated gradients have a closed form."""

    def __init__(self) -> None:
        super().__init__(SCHEDULER)
        random = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(80, 80, generator=random)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t.flatten(1) @ self.matrix.T).reshape(x_t.shape)


def test_a_linear_map_is_attributed_in_closed_form() -> None:
    linear = Linear()
    result = attribution.measure(linear, WORLD, CONFIG, t=500)
    region = torch.zeros(1, 8, 10)
    region[:, :4, 5:] = 1
    expected = result.x_t.flatten(1) * (region.flatten() @ linear.matrix)
    assert torch.allclose(result.maps.flatten(1), expected, atol=1e-4)
    assert result.delta.abs().max() < 1e-3
    assert result.cell_box == (0, 5, 4, 5)
    _, x_t = noisy_inputs(linear, WORLD, 4, 500, 0)
    assert torch.equal(result.x_t, x_t)


def test_maps_are_complete() -> None:
    """The sum of a map is the output's distance from the baseline's."""
    bayes = BayesDenoiser(WORLD, SCHEDULER)
    result = attribution.measure(bayes, WORLD, CONFIG, t=400)
    level = torch.full((4,), 400)
    cell = (..., slice(0, 4), slice(5, 10))
    reached = bayes(result.x_t, level)[cell].sum((1, 2, 3))
    baseline = bayes(torch.zeros_like(result.x_t), level)[cell].sum((1, 2, 3))
    total = result.maps.sum((1, 2, 3))
    assert torch.allclose(total, reached - baseline, atol=0.02)
    assert torch.allclose(total - (reached - baseline), result.delta.float(), atol=1e-4)


def test_the_product_oracle_listens_to_its_own_cell_alone() -> None:
    result = attribution.measure(ProductDenoiser(WORLD, SCHEDULER), WORLD, CONFIG, t=400)
    assert result.mean_local_share == pytest.approx((1, 0), abs=1e-6)
    result = attribution.measure(BayesDenoiser(WORLD, SCHEDULER), WORLD, CONFIG, t=400)
    assert result.mean_local_share[0] < 0.9


def test_numbers_are_written(tmp_path: Path) -> None:
    result = attribution.measure(Linear(), WORLD, CONFIG, t=500)
    attribution.write(result, tmp_path / "attribution-network")
    numbers = json.loads((tmp_path / "attribution-network.json").read_text())
    assert numbers["settings"]["method"] == "integrated gradients"
    assert numbers["delta"] == pytest.approx(result.delta.tolist())
    with np.load(tmp_path / "attribution-network.npz") as arrays:
        assert np.array_equal(arrays["maps"], result.maps.numpy())
    ax = attribution.plot(result, Figure().subplots())
    assert ax.images[1].get_clim()[0] == -ax.images[1].get_clim()[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attribution_cell": 4}, "attribution_cell=4 is outside 0 … 3"),
        ({"attribution_cell": -1}, "attribution_cell=-1 is outside"),
        ({"images": 1}, "images must be at least 2"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attribution.measure(Linear(), WORLD, replace(CONFIG, **change), t=500)
