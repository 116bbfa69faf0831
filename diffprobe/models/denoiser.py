"""The denoiser: one map `(x_t, t) -> x0_hat` for networks of any prediction type and for oracles.

x_t = alpha_t x_0 + sigma_t eps,   alpha_t = sqrt(alphas_cumprod[t]),   alpha² + sigma² = 1

epsilon:       x0_hat = (x_t - sigma eps_hat) / alpha
sample:        x0_hat = the output
v_prediction:  x0_hat = alpha x_t - sigma v_hat       (Salimans & Ho, arXiv:2202.00512, app. D)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from diffprobe.config import NoiseConfig
from diffprobe.errors import UsageError, unknown_name


class Denoiser(nn.Module, ABC):
    """An estimate of `E[x_0 | x_t]`.

    Args:
        scheduler: A diffusers scheduler with `alphas_cumprod`; it defines what `t` means.
    """

    alphas_cumprod: Tensor

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        if not hasattr(scheduler, "alphas_cumprod"):
            raise UsageError(
                f"{type(scheduler).__name__} has no alphas_cumprod; "
                "a denoiser needs a variance-preserving schedule"
            )
        self.scheduler = scheduler
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone(), persistent=False)

    @property
    def timesteps(self) -> int:
        """Number of noise levels; `t` runs from 0 to one less."""
        return len(self.alphas_cumprod)

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image.

        Args:
            x_t: (B, C, H, W) noisy images.
            t: (B,) long in `range(timesteps)`.

        Returns:
            x0_hat: (B, C, H, W).
        """

    def alpha_sigma(self, t: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each (B, 1, 1, 1), of `t (B,)` long."""
        product = self.alphas_cumprod.to(t.device)[t].to(dtype).reshape(-1, 1, 1, 1)
        return product.sqrt(), (1 - product).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha² / sigma²) at `t (B,)`: (B,), in nats."""
        return torch.logit(self.alphas_cumprod.double())[t.to(self.alphas_cumprod.device)]

    def noise(self, x_0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """Return `x_t` of clean images `x_0 (B, C, H, W)` at `t (B,)`."""
        alpha, sigma = self.alpha_sigma(t, x_0.dtype)
        eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
        return alpha * x_0 + sigma * eps


class NetworkDenoiser(Denoiser):
    """A network `(sample, timestep) -> .sample` as a denoiser, whatever it predicts.

    Args:
        network: Called as diffusers models are.
        scheduler: Its `config.prediction_type` says what the network predicts.
    """

    def __init__(self, network: nn.Module, scheduler: Any) -> None:
        super().__init__(scheduler)
        self.network = network
        self.prediction_type: str = scheduler.config.prediction_type
        if self.prediction_type not in _TO_X0:
            raise unknown_name("prediction type", self.prediction_type, _TO_X0)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image; see `Denoiser.forward`."""
        output = self.network(x_t, t).sample
        if output.shape != x_t.shape:
            raise UsageError(
                f"the network returned shape {tuple(output.shape)} for {tuple(x_t.shape)}"
            )
        alpha, sigma = self.alpha_sigma(t, x_t.dtype)
        return _TO_X0[self.prediction_type](x_t, output, alpha, sigma)


_TO_X0: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_t, eps, alpha, sigma: (x_t - sigma * eps) / alpha,
    "sample": lambda x_t, x_0, alpha, sigma: x_0,
    "v_prediction": lambda x_t, v, alpha, sigma: alpha * x_t - sigma * v,
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
