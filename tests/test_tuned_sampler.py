import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffprobe.config import SamplingConfig
from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, noise_scheduler
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import sample
from diffprobe.sampling.bent_path import bent_levels
from diffprobe.sampling.paths import ddim_noise
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.tuned import TunedConfig

CUBE = hypercube(ParityConfig(4).build())
OPTIMUM = BayesDenoiser(CUBE, noise_scheduler(NoiseConfig(timesteps=100)))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_unbent_it_is_diffusers_ddim(eta: float) -> None:
    config = SamplingConfig(n=16, steps=10, seed=4)
    tuned = TunedConfig(first_eta=(eta,), last_eta=(eta,))
    ours, theirs = (
        sample(OPTIMUM, CUBE.image_shape, sampler, config, False)
        for sampler in (tuned, DDIMConfig(eta=eta))
    )
    assert ours.sampler["timesteps"] == theirs.sampler["timesteps"]
    assert ours.sampler["evaluations"] == 10
    # At an end with no signal left diffusers' tables have one rounding more.
    torch.testing.assert_close(ours.images, theirs.images, rtol=1e-3, atol=2e-3)


def test_noise_is_that_of_the_posterior_on_a_flow() -> None:
    """Var(x' | x, x_0) of two noisings of one image, x the noisier, by regression."""
    schedule = NoiseSchedule(FlowMatchEulerDiscreteScheduler(100))
    before, after = torch.tensor([80]), torch.tensor([40])
    alpha, sigma = (float(v) for v in schedule.values(before))
    next_alpha, next_sigma = (float(v) for v in schedule.values(after))
    share = alpha / next_alpha
    kept = share * next_sigma**2 / sigma**2  # the slope of x' on x, given x_0
    variance = next_sigma**2 - kept * share * next_sigma**2
    assert float(ddim_noise(schedule, before, after, 1.0)) == pytest.approx(math.sqrt(variance))
    assert float(ddim_noise(schedule, before, torch.tensor([GIVEN]), 1.0)) == 0


def test_along_a_flow_the_optimum_obeys() -> None:
    flow = BayesDenoiser(CUBE, FlowMatchEulerDiscreteScheduler(100))
    tuned = TunedConfig(clean=(1.5,), noisy=(0.8,), first_eta=(1.0,), last_eta=(0.2,))
    drawn = sample(flow, CUBE.image_shape, tuned, SamplingConfig(n=64, steps=30), False)
    words, legible = CUBE.read(drawn.images)
    assert float((legible.all(1) & CUBE.grammar.contains(words)).float().mean()) > 0.8


@pytest.mark.parametrize(("clean", "noisy"), [(1, 1), (0.1, 9), (9, 0.1), (12, 12), (0.1, 0.1)])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_levels_fall_and_begin_in_noise(clean: float, noisy: float, steps: int) -> None:
    levels = bent_levels(50, steps, clean, noisy)
    assert levels[0] == 49
    assert levels[-1] >= 0
    assert bool((levels.diff() < 0).all())


def test_numbers_lie_on_lines_in_log_steps() -> None:
    tuned = TunedConfig.of({8: (2.0, 1.0, 0.0, 1.0), 2: (1.0, 3.0, 1.0, 0.0)})
    assert tuned.at(2) == tuned.at(1) == (1.0, 3.0, 1.0, 0.0)
    assert tuned.at(4) == pytest.approx((1.5, 2.0, 0.5, 0.5))
    assert tuned.at(50) == (2.0, 1.0, 0.0, 1.0)
    assert tuned.title == "tuned at 2, 8 steps"
    assert tuned.label != TunedConfig().label


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budgets": ()}, "each above the one before"),
        ({"budgets": (4, 4)}, "each above the one before"),
        ({"budgets": (0,)}, r"budgets\[0\]"),
        ({"budgets": (2, 4)}, "clean needs a number for each of the 2"),
        ({"clean": (0.0,)}, "clean must be positive, not 0"),
        ({"noisy": (math.nan,)}, "noisy must be positive, not nan"),
        ({"last_eta": (1.5,)}, r"last_eta\[0\]"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TunedConfig(**settings)  # type: ignore[arg-type]
