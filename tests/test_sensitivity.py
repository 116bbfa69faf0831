from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.sensitivity import SensitivityConfig, figures, maps
from diffprobe.probing.jacobian import exact_jacobian
from diffprobe.probing.noise_levels import noisy_inputs

SCHEDULER = noise_scheduler(NoiseConfig())
EXACT = SensitivityConfig(projections=0)
COMMON = ProbeConfig(images=16, region=2, batch_size=5)


def test_a_map_is_a_row_of_the_jacobian_squared() -> None:
    world = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 4)), (2, 2))
    bayes = BayesDenoiser(world, SCHEDULER)
    result = maps.measure(bayes, world, EXACT, COMMON, t=350)
    x_t = noisy_inputs(bayes, world, 16, 350, 0)
    rows = exact_jacobian(bayes, x_t, 350).reshape(16, 8, 8, 64)[:, 4:, :4]
    squares = rows.double().square().sum((1, 2)).reshape(16, 8, 8)
    shares = squares / squares.sum((1, 2), keepdim=True)
    assert torch.allclose(result.map.value, shares.mean(0), rtol=1e-4)
    assert torch.allclose(result.map.standard_error, shares.std(0) / 4, rtol=1e-4)
    inside = shares[:, 4:, :4].sum((1, 2)).mean().item()
    assert result.local_share.value.item() == pytest.approx(inside, rel=1e-5)
    assert result.box == (4, 0, 4, 4)
    estimated = maps.measure(bayes, world, SensitivityConfig(projections=64), COMMON, t=350)
    assert estimated.local_share.value.item() == pytest.approx(inside, abs=0.05)
    shown = figures.plot(result, Figure().subplots()).images[0]
    assert shown.get_array().max() == pytest.approx(result.map.value.max().item())


def test_bad_settings_are_refused() -> None:
    world = hypercube(ParityConfig(4).build())
    with pytest.raises(UsageError, match="projections must be at least 2"):
        SensitivityConfig(projections=1)
    with pytest.raises(UsageError, match=r"sensitivity\.projections must be at least 0, not -1"):
        SensitivityConfig(projections=-1)
    with pytest.raises(UsageError, match=r"probe\.region=4 is outside 0 … 3"):
        maps.measure(BayesDenoiser(world, SCHEDULER), world, EXACT, replace(COMMON, region=4), t=1)


def test_shares_are_over_the_inputs_at_which_the_optimum_depends_on_anything() -> None:
    class Linear(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return x_t + x_t.roll(1, -1)

    cube = hypercube(ParityConfig(4).build())
    common = replace(COMMON, images=200, batch_size=200)
    results = {
        name: maps.measure(denoiser, cube, EXACT, common, t=150)
        for name, denoiser in (
            ("network", Linear(SCHEDULER)),
            ("bayes", BayesDenoiser(cube, SCHEDULER)),
        )
    }
    compared = maps.beside_the_optimum(results)
    counts = {int(result.local_share.n) for result in compared.values()}
    assert len(counts) == 1
    assert 10 < counts.pop() < 200
