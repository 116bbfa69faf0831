from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from diffprobe.datasets import hypercube
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import (
    BayesDenoiser,
    EmpiricalDenoiser,
    FunctionDenoiser,
    NetworkDenoiser,
    WienerDenoiser,
    noise_scheduler,
)
from diffprobe.models.noise_schedule import training_target
from diffprobe.models.noise_settings import NoiseConfig

KINDS = ["epsilon", "sample", "v_prediction"]


class Answer(nn.Module):
    """A network that always gives the same answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        return UNet2DOutput(sample=self.answer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_gives_back_the_clean_image(kind: str) -> None:
    scheduler = noise_scheduler(NoiseConfig(prediction_type=kind))
    random = torch.Generator().manual_seed(0)
    t = torch.tensor([3, 400, 900])
    x_0, eps = torch.randn(2, 3, 1, 2, 2, generator=random, dtype=torch.float64)
    denoiser = NetworkDenoiser(nn.Identity(), scheduler)
    alpha, sigma = denoiser.alpha_sigma(t, x_0.dtype)
    assert alpha.shape == sigma.shape == (3, 1, 1, 1)
    target = training_target(kind, x_0, eps, alpha, sigma)
    denoiser.network = Answer(target)
    x_t = alpha * x_0 + sigma * eps
    assert torch.allclose(denoiser(x_t, t), x_0, atol=1e-10)
    if kind == "v_prediction":
        theirs = scheduler.get_velocity(x_0.float(), eps.float(), t)
        assert torch.allclose(target.float(), theirs, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_x0_hat_is_the_one_diffusers_computes(kind: str) -> None:
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(10)
    random = torch.Generator().manual_seed(1)
    x_t, output = torch.randn(2, 4, 1, 3, 3, generator=random)
    denoiser = NetworkDenoiser(Answer(output), scheduler)
    for t in scheduler.timesteps[::3]:
        theirs = scheduler.step(output, t, x_t).pred_original_sample
        assert torch.allclose(denoiser(x_t, t.expand(4)), theirs, atol=1e-4, rtol=1e-4)


def test_noise_is_the_noise_of_diffusers() -> None:
    scheduler = DDPMScheduler()
    denoiser = NetworkDenoiser(nn.Identity(), scheduler)
    x_0 = torch.rand(5, 1, 2, 2)
    t = torch.tensor([0, 10, 300, 700, 999])
    ours = denoiser.noise(x_0, t, torch.Generator().manual_seed(2))
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(ours, scheduler.add_noise(x_0, eps, t), atol=1e-6)
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    assert torch.allclose(denoiser.log_snr(t).float(), snr[t].log(), atol=1e-3)
    assert denoiser.timesteps == 1000


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_flow_is_the_flow_of_diffusers(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    random = torch.Generator().manual_seed(3)
    x_0, eps = torch.randn(2, 5, 1, 2, 2, generator=random, dtype=torch.float64)
    t = torch.tensor([0, 10, 300, 700, 999])
    asked: list[Tensor] = []

    class Velocity(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
            asked.append(timestep)
            return UNet2DOutput(sample=eps - x_0)

    denoiser = NetworkDenoiser(Velocity(), scheduler)
    alpha, sigma = denoiser.alpha_sigma(t, x_0.dtype)
    x_t = alpha * x_0 + sigma * eps
    theirs = scheduler.timesteps.flip(0)[t]  # noisiest first in diffusers
    assert torch.allclose(scheduler.scale_noise(x_0, theirs, eps)[:4], x_t[:4], atol=1e-6)
    assert torch.allclose(denoiser(x_t, t)[:4], x_0[:4], atol=1e-12)
    assert torch.allclose(asked[0].float(), theirs)
    # The noisiest level keeps a trace of the image, so that its log-SNR is finite.
    assert torch.allclose(x_t[4], eps[4], atol=1e-3)
    exact = 2 * torch.log(alpha / sigma).flatten()
    assert torch.allclose(denoiser.log_snr(t), exact, atol=1e-12)
    assert (denoiser.log_snr(torch.arange(1000)).diff() < 0).all()


@pytest.mark.parametrize(
    "scheduler",
    [DDPMScheduler(rescale_betas_zero_snr=True), FlowMatchEulerDiscreteScheduler()],
    ids=lambda s: type(s).__name__,
)
def test_log_snr_is_finite_where_no_signal_is_left(scheduler: Any) -> None:
    denoiser = NetworkDenoiser(nn.Identity(), scheduler)
    log_snr = denoiser.log_snr(torch.arange(denoiser.timesteps))
    assert log_snr.isfinite().all()
    assert (log_snr.diff() < 0).all()


def test_oracles_know_flows() -> None:
    """Against the posterior over all images, by Bayes' rule at alpha = 1 - sigma."""
    world = hypercube(ParityConfig(4).build())
    images = world.render(world.grammar.words()).double()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    random = torch.Generator().manual_seed(4)
    t = torch.tensor([200, 500, 800])
    x_t = torch.randn(3, 1, 1, 4, generator=random, dtype=torch.float64)
    noise = (t + 1).double() / 1000
    sigma = (2 * noise / (1 + noise)).reshape(3, 1, 1)
    distance = (x_t.flatten(1)[:, None] - (1 - sigma) * images.flatten(1)).square().sum(2)
    posterior = (-distance / (2 * sigma[..., 0].square())).softmax(1)
    expected = (posterior @ images.flatten(1)).reshape(x_t.shape)
    for oracle in (BayesDenoiser(world, scheduler), EmpiricalDenoiser(images, scheduler)):
        assert torch.allclose(oracle(x_t, t), expected, atol=1e-9)
    # Linear: mean + gain (x - alpha mean), for independent unit-free pixels of parity.
    wiener = WienerDenoiser(images, scheduler)
    variance = images.flatten(1).T.cov()[0, 0]
    alpha, sigma = (a[..., None] for a in (1 - sigma, sigma))
    gain = alpha * variance / (alpha.square() * variance + sigma.square())
    assert torch.allclose(wiener(x_t, t), gain * x_t, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [
        ("epsilon", DDPMScheduler()),
        ("sample", DDPMScheduler()),
        ("v_prediction", DDPMScheduler()),
        ("flow", FlowMatchEulerDiscreteScheduler(shift=3.0)),
        ("sample", FlowMatchEulerDiscreteScheduler(shift=3.0)),
        ("epsilon", FlowMatchEulerDiscreteScheduler(shift=3.0)),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__[:4],
)
def test_a_function_is_a_denoiser(kind: str, scheduler: Any) -> None:
    random = torch.Generator().manual_seed(5)
    x_0, eps = torch.randn(2, 3, 2, 4, 5, generator=random, dtype=torch.float64)
    t = torch.tensor([3, 400, 900])
    asked: list[Tensor] = []

    def function(x_t: Tensor, time: Tensor) -> Tensor:
        asked.append(time)
        if kind == "flow":
            return eps - x_0
        return training_target(kind, x_0, eps, *denoiser.alpha_sigma(t, x_t.dtype))

    denoiser = FunctionDenoiser(function, scheduler, kind, image_shape=(2, 4, 5))
    alpha, sigma = denoiser.alpha_sigma(t, x_0.dtype)
    assert torch.allclose(denoiser(alpha * x_0 + sigma * eps, t), x_0, atol=1e-10)
    is_flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    assert torch.allclose(asked[0], 1000 * sigma.flatten() if is_flow else t)
    assert denoiser.image_shape == (2, 4, 5)
    assert denoiser.encode(x_0) is x_0


def test_a_module_as_a_function_moves_with_the_denoiser() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return x_t * self.weight

    denoiser = FunctionDenoiser(Scale(), DDPMScheduler()).double()
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    denoiser(x, torch.tensor([3])).backward()
    assert x.grad is not None
    assert x.grad.item() == 2.0
    assert next(denoiser.parameters()).dtype == torch.float64


def test_log_snr_is_exact_where_hardly_any_noise_is_left() -> None:
    scheduler = DDPMScheduler()
    scheduler.alphas_cumprod = torch.sigmoid(torch.tensor([15.0, 0.0, -15.0], dtype=torch.float64))
    denoiser = NetworkDenoiser(nn.Identity(), scheduler)
    found = denoiser.log_snr(torch.arange(3)).tolist()
    assert found == pytest.approx([15.0, 0.0, -15.0], abs=1e-8)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="EDMEulerScheduler has no alphas_cumprod and is not"):
        NetworkDenoiser(nn.Identity(), EDMEulerScheduler())
    with pytest.raises(UsageError, match="unknown prediction type 'flow'"):
        NetworkDenoiser(nn.Identity(), DDPMScheduler(prediction_type="flow"))
    wrong = NetworkDenoiser(Answer(torch.zeros(1, 2, 2, 2)), DDPMScheduler())
    with pytest.raises(UsageError, match=r"returned shape \(1, 2, 2, 2\) for \(1, 1, 2, 2\)"):
        wrong(torch.zeros(1, 1, 2, 2), torch.tensor([0]))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.full((1, 1, 2, 2), torch.nan), "what the network returned is not finite$"),
        (torch.full((1, 1, 2, 2), torch.inf), "what the network returned is not finite$"),
        (torch.zeros(1, 2, 2), r"returned shape \(1, 2, 2\) for \(1, 1, 2, 2\)"),
        ([1.0], "the network returned a list, not a tensor"),
    ],
)
def test_functions_that_return_nonsense_are_refused(output: Any, message: str) -> None:
    denoiser = FunctionDenoiser(lambda x_t, t: output, DDPMScheduler())
    with pytest.raises(UsageError, match=message):
        denoiser(torch.zeros(1, 1, 2, 2), torch.tensor([0]))


def test_prediction_types_of_the_other_process_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown prediction type 'flow'"):
        FunctionDenoiser(lambda x_t, t: x_t, DDPMScheduler(), "flow")
    with pytest.raises(UsageError, match="choose from epsilon, flow, sample"):
        FunctionDenoiser(lambda x_t, t: x_t, FlowMatchEulerDiscreteScheduler(), "v_prediction")
    echo = FunctionDenoiser(lambda x_t, t: x_t, DDPMScheduler())
    with pytest.raises(UsageError, match="is not finite, and neither is its input"):
        echo(torch.full((1, 1, 2, 2), torch.nan), torch.tensor([0]))
    with pytest.raises(UsageError, match="images of any size: say which"):
        _ = echo.image_shape
