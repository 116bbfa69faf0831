import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.models import Denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes.attribution import AttributionConfig, maps
from diffprobe.probes.attribution.methods import METHODS, Question
from diffprobe.probes.attribution.metrics import RADIUS, SETS, measure

SCHEDULER = noise_scheduler(NoiseConfig())
WORLD = SymbolImages(ParityConfig(4).build(), Glyphs.font("01", (4, 5)), (2, 2))
SETTINGS = AttributionConfig(images=12, integration_steps=8, shapley_samples=4)
COMMON = ProbeConfig()
BAYES = BayesDenoiser(WORLD, SCHEDULER)


class Scaled(Denoiser):
    """x0_hat = x_t (1 + c x_t)."""

    def __init__(self, curvature: float) -> None:
        super().__init__(SCHEDULER)
        self.curvature = curvature

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t * (1 + self.curvature * x_t)


def asked(n: int, batch_size: int = 128) -> Question:
    random = torch.Generator().manual_seed(0)
    x, other = torch.randn(2, n, 1, 8, 10, generator=random)
    cells = torch.arange(4).reshape(1, 4, 1, 1, 1).expand(1, 4, 1, 4, 5).float()
    return Question(
        output=lambda x, weights: (weights * x * (1 + 0.5 * x)).sum((1, 2, 3)),
        x=x,
        weights=torch.ones_like(x),
        baselines={"noisy-image": other, "zeros": torch.zeros_like(x)},
        owner=WORLD.image(cells).long()[0][None],
        window=None,
        settings=SETTINGS,
        common=replace(COMMON, batch_size=batch_size),
    )


def test_an_additive_output_is_predicted_by_what_its_cells_change() -> None:
    """Where cells do not interact ablation tells any set's change, and half of it is half wrong."""
    q = asked(5)
    maps = METHODS["feature-ablation"](q)[0]
    exact, doubled = (measure(q, "feature-ablation", m) for m in (maps, 2 * maps))
    assert exact.shape == (5, 3)
    assert (exact[:, 0] < 1e-4 * exact[:, 1]).all()
    # Twice the truth is as wrong as nothing.
    assert torch.allclose(doubled[:, 0], exact[:, 1], rtol=1e-3)
    assert measure(q, "saliency", maps)[:, :2].isnan().all()


def test_infidelity_is_the_mean_over_sets_of_cells() -> None:
    """Of 16 sets, each of the 2^4 possible ones has its chance: the mean over all, within noise."""
    result = maps.measure(BAYES, WORLD, SETTINGS, COMMON, t=400, methods=("shapley-zeros",))
    found = result.metrics[0, :, :2].double().mean(0)
    cells = WORLD.cells(result.maps[0]).sum((2, 3, 4))
    level = torch.full((12,), 400)

    def output(x: Tensor) -> Tensor:
        return (BAYES(x, level) * result.mask).sum((1, 2, 3))

    errors, changes = [], []
    for chosen in itertools.product((0.0, 1.0), repeat=4):
        inside = torch.tensor(chosen)
        mask = WORLD.image(inside.reshape(1, 4, 1, 1, 1).expand(1, 4, 1, 4, 5))
        change = output(result.x_t) - output(result.x_t * (1 - mask))
        errors.append((cells @ inside - change).square())
        changes.append(change.square())
    expected = [torch.stack(part).mean().item() for part in (errors, changes)]
    assert SETS == 16
    assert found.tolist() == pytest.approx(expected, rel=0.35)
    assert result.infidelity.value.item() == pytest.approx((found[0] / found[1]).item(), rel=1e-5)


def test_sensitivity_is_the_largest_change_of_the_map() -> None:
    """The gradient of x + c x² is 1 + 2 c x: a step of e changes it by 2 c e."""
    for curvature in (0.0, 0.5):
        result = maps.measure(
            Scaled(curvature), WORLD, SETTINGS, COMMON, t=400, methods=("saliency",)
        )
        steady = result.metrics[0, :, 2]
        inside = result.mask[0]
        size = result.maps[0][:, 0, inside].square().sum(1).sqrt()
        most = 2 * curvature * RADIUS * math.sqrt(inside.sum().item()) / size
        if curvature == 0:
            assert (steady == 0).all()
            continue
        # The step is uniform: its root mean square is 1/√3 of the largest.
        assert (steady < most).all()
        assert (steady > 0.4 * most).all()
        assert result.sensitivity.value.item() == pytest.approx(steady.mean().item(), rel=1e-5)


def test_batches_and_the_global_generator_change_nothing() -> None:
    before = torch.get_rng_state()
    maps = METHODS["shapley"](asked(5))[0]
    first = measure(asked(5), "shapley", maps)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(first, measure(asked(5, batch_size=20), "shapley", maps), rtol=1e-4)
    later = measure(asked(5)[3:], "shapley", maps[3:], first=3)
    assert torch.allclose(first[3:], later, rtol=1e-4)
    assert not torch.allclose(first[3:], measure(asked(5)[3:], "shapley", maps[3:]), rtol=1e-4)


def test_no_images_no_metrics() -> None:
    off = replace(SETTINGS, metric_images=0)
    result = maps.measure(BAYES, WORLD, off, COMMON, t=400, methods=("saliency", "occlusion"))
    assert result.metrics.shape == (2, 0, 3)
    assert result.infidelity.value.isnan().all()
    assert result.sensitivity.value.isnan().all()
