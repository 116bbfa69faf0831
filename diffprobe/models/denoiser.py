"""The denoiser: one map `(x_t, t) -> x0_hat` for networks of any prediction type and for oracles.

x_t = alpha_t x_0 + sigma_t eps,   t an index of noise levels, in order of increasing noise

diffusion:       alpha_t = sqrt(alphas_cumprod[t]),   alpha² + sigma² = 1
flow matching:   alpha_t = 1 - sigma_t,   sigma_t from 1/T to 1, moved towards 1 by a shift

epsilon:       x0_hat = (x_t - sigma eps_hat) / alpha
sample:        x0_hat = the output
v_prediction:  x0_hat = alpha x_t - sigma v_hat       (Salimans & Ho, arXiv:2202.00512, app. D)
flow:          x0_hat = x_t - sigma v_hat,  v = eps - x_0     (Lipman et al., arXiv:2210.02747)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from diffprobe.config import NoiseConfig
from diffprobe.errors import UsageError, unknown_name


class Denoiser(nn.Module, ABC):
    """An estimate of `E[x_0 | x_t]`.

    Args:
        scheduler: A diffusers scheduler of a diffusion (with `alphas_cumprod`) or of flow
            matching; it defines what `t` means.

    Attributes:
        alphas: (T,) float64, the share of the clean image at each noise level.
        sigmas: (T,) float64, the standard deviation of the noise.
    """

    alphas: Tensor
    sigmas: Tensor

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler = scheduler
        for name, values in zip(("alphas", "sigmas"), gaussian_path(scheduler), strict=True):
            self.register_buffer(name, values, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the denoiser is, and where its inputs must be."""
        return self.alphas.device

    @property
    def timesteps(self) -> int:
        """Number of noise levels; `t` runs from 0 to one less."""
        return len(self.alphas)

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image.

        Args:
            x_t: (B, C, H, W) noisy images.
            t: (B,) long in `range(timesteps)`.

        Returns:
            x0_hat: (B, C, H, W).
        """

    def alpha_sigma(self, t: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each (B, 1, 1, 1), of `t (B,)` long."""
        alpha, sigma = (
            path.to(t.device)[t].to(dtype).reshape(-1, 1, 1, 1)
            for path in (self.alphas, self.sigmas)
        )
        return alpha, sigma

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha² / sigma²) at `t (B,)`: (B,) float64, in nats."""
        t = t.to(self.device)
        return 2 * (self.alphas.double()[t].log() - self.sigmas.double()[t].log())

    def noise(self, x_0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """Return `x_t` of clean images `x_0 (B, C, H, W)` at `t (B,)`."""
        alpha, sigma = self.alpha_sigma(t, x_0.dtype)
        eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
        return alpha * x_0 + sigma * eps


# Where a schedule ends in pure noise a trace of the image is left, so that log-SNR stays finite
# (-16.6): diffusers does the same in its schedules of zero terminal signal.
SMALLEST_ALPHA = 2.0**-12


def gaussian_path(scheduler: Any) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma of a scheduler's noise levels, each (T,) float64, noisiest last.

    Raises:
        UsageError: If the scheduler is of another kind.
    """
    if hasattr(scheduler, "alphas_cumprod"):
        product = scheduler.alphas_cumprod.double()
        return product.sqrt().clamp(min=SMALLEST_ALPHA), (1 - product).sqrt()
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        levels, shift = scheduler.config.num_train_timesteps, scheduler.config.shift
        noise = torch.arange(1, levels + 1, dtype=torch.float64) / levels
        sigma = shift * noise / (1 + (shift - 1) * noise)
        return (1 - sigma).clamp(min=SMALLEST_ALPHA), sigma
    raise UsageError(
        f"{type(scheduler).__name__} has no alphas_cumprod and is not for flow matching; "
        "a denoiser needs x_t = alpha x_0 + sigma eps"
    )


class NetworkDenoiser(Denoiser):
    """A network `(sample, timestep) -> .sample` as a denoiser, whatever it predicts.

    Args:
        network: Called as diffusers models are.
        scheduler: Its `config.prediction_type` says what the network predicts; a flow-matching
            scheduler has none, and its network predicts the velocity.
    """

    def __init__(self, network: nn.Module, scheduler: Any) -> None:
        super().__init__(scheduler)
        self.network = network
        self.prediction_type: str = "flow"
        if hasattr(scheduler, "alphas_cumprod"):
            self.prediction_type = scheduler.config.prediction_type
            if self.prediction_type not in DIFFUSION_PREDICTIONS:
                raise unknown_name("prediction type", self.prediction_type, DIFFUSION_PREDICTIONS)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image; see `Denoiser.forward`."""
        output = self.network(x_t, self._timestep(t)).sample
        if output.shape != x_t.shape:
            raise UsageError(
                f"the network returned shape {tuple(output.shape)} for {tuple(x_t.shape)}"
            )
        alpha, sigma = self.alpha_sigma(t, x_t.dtype)
        return _TO_X0[self.prediction_type](x_t, output, alpha, sigma)

    def _timestep(self, t: Tensor) -> Tensor:
        """What the network is told of the noise: the index, or for flows sigma times T."""
        if self.prediction_type != "flow":
            return t
        return self.alpha_sigma(t)[1].flatten() * self.timesteps


DIFFUSION_PREDICTIONS = ("epsilon", "sample", "v_prediction")

_TO_X0: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_t, eps, alpha, sigma: (x_t - sigma * eps) / alpha,
    "sample": lambda x_t, x_0, alpha, sigma: x_0,
    "v_prediction": lambda x_t, v, alpha, sigma: alpha * x_t - sigma * v,
    "flow": lambda x_t, v, alpha, sigma: x_t - sigma * v,
}


def training_target(
    prediction_type: str, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return what a network of this prediction type should output: (B, C, H, W)."""
    if prediction_type == "epsilon":
        return eps
    if prediction_type == "sample":
        return x_0
    return alpha * eps - sigma * x_0


def noise_scheduler(config: NoiseConfig) -> DDPMScheduler:
    """Return the diffusers scheduler of a forward process.

    `clip_sample` is on because every dataset's images lie in [-1, 1].
    """
    return DDPMScheduler(
        num_train_timesteps=config.timesteps,
        beta_schedule=config.beta_schedule,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        prediction_type=config.prediction_type,
        clip_sample=True,
        timestep_spacing="trailing",
    )
