"""Training with a noise level for each cell, and sampling cells in turn from what comes of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprobe.config import Config, SamplingConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import load_denoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import Given, sample
from diffprobe.sampling.given import FREE
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.sequential import SequentialConfig
from diffprobe.training import train
from diffprobe.training.objectives.denoising import DenoisingConfig

WORLD = hypercube(ParityConfig(4).build(), (2, 2))
PREDICTIONS = ["epsilon", "sample", "v_prediction"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("levels", ["uniform", "log-snr"])
def test_cells_draw_their_levels_alone(levels: str) -> None:
    settings: Any = {"levels": levels, "by_cell": True}
    objective = DenoisingConfig(**settings).build(noise_scheduler(NoiseConfig()), WORLD)
    t = objective.draw_levels(4000, seeded(0))
    assert t.shape == (4000, 4)
    assert t.min() >= 0
    assert t.max() < 1000
    correlations = torch.corrcoef(t.T.double()) - torch.eye(4)
    assert correlations.abs().max() < 5 / 4000**0.5
    # Each cell as images do that have one level.
    alone = replace(DenoisingConfig(**settings), by_cell=False)
    images = alone.build(noise_scheduler(NoiseConfig()), WORLD).draw_levels(4000, seeded(1))
    for cell in t.T:
        assert abs(cell.double().mean() - images.double().mean()) < 5 * 300 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("weighting", ["plain", "min-snr"])
def test_the_loss_is_that_of_each_cell_at_its_own_level(
    prediction_type: str, weighting: str
) -> None:
    scheduler = noise_scheduler(NoiseConfig(prediction_type=prediction_type))  # type: ignore[arg-type]
    config = DenoisingConfig(by_cell=True, weighting=weighting)  # type: ignore[arg-type]
    by_cell = config.build(scheduler, WORLD)
    by_image = replace(config, by_cell=False).build(scheduler, WORLD)
    seen: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor) -> Any:
        seen.append(t)
        return SimpleNamespace(sample=0.7 * x_t)

    random = seeded(2)
    x_0 = WORLD.draw_images(16, random)
    eps = torch.randn(x_0.shape, generator=random)
    t = by_cell.draw_levels(16, random)
    found = by_cell.loss(network, x_0, t, eps, random)
    assert torch.equal(seen[0], t)
    # Of a network that does not look around, each pixel's loss is that of an image of one pixel.
    pixels = [x.reshape(-1, 1, 1, 1) for x in (x_0, eps)]
    expected = by_image.loss(network, pixels[0], t.flatten(), pixels[1], random)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_level_an_image_is_what_it_was() -> None:
    objective = DenoisingConfig().build(noise_scheduler(NoiseConfig()), WORLD)
    drawn = torch.randint(1000, (9,), generator=seeded(3))
    assert torch.equal(objective.draw_levels(9, seeded(3)), drawn)


def test_a_run_by_cell_is_sampled_in_turn_and_on_conditions(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(
        tiny_config,
        network=replace(tiny_config.network, levels_by_cell=True),  # type: ignore[type-var]
        objective=DenoisingConfig(by_cell=True),
    )
    run = train(config, tmp_path / "run", "cpu")
    world = config.dataset()
    denoiser = load_denoiser(run.path)
    assert denoiser.cells == world.cell_grid
    sampling = SamplingConfig(n=6, steps=12, batch_size=4)
    given = Given.words(world, torch.tensor([1, FREE, FREE, 1]))
    for sampler in (DDIMConfig(), SequentialConfig()):
        images = sample(denoiser, world.image_shape, sampler, sampling, given=given).images
        cells, wanted = world.cells(images), world.cells(given.images).expand(6, -1, -1, -1, -1)
        assert torch.equal(cells[:, [0, 3]], wanted[:, [0, 3]])
        assert images.isfinite().all()


def test_a_network_that_is_told_one_level_is_not_trained_by_cell(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, objective=DenoisingConfig(by_cell=True))
    with pytest.raises(UsageError, match=r"set network\.levels_by_cell = true"):
        train(config, tmp_path / "run", "cpu")
