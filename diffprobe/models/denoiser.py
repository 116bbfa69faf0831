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
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from diffprobe.config import NoiseConfig
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.models.latents import LatentSpace


class Denoiser(nn.Module, ABC):
    """An estimate of `E[x_0 | x_t]`.

    Args:
        scheduler: A diffusers scheduler of a diffusion (with `alphas_cumprod`) or of flow
            matching; it defines what `t` means.
        image_shape: C, H, W in the denoiser's own space, if it is made for one size.
        latents: The space it works in, unless that is pixels.

    Attributes:
        alphas: (T,) float64, the share of the clean image at each noise level.
        sigmas: (T,) float64, the standard deviation of the noise.
    """

    alphas: Tensor
    sigmas: Tensor

    def __init__(
        self,
        scheduler: Any,
        *,
        image_shape: tuple[int, int, int] | None = None,
        latents: LatentSpace | None = None,
    ) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.latents = latents
        self._image_shape = image_shape
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

    @property
    def space(self) -> Literal["pixels", "latents"]:
        """What x_t and x_0 are: images, or an autoencoder's latents."""
        return "pixels" if self.latents is None else "latents"

    @property
    def pixel_scale(self) -> int:
        """Pixels of an image to one of x_t, in each direction."""
        return 1 if self.latents is None else self.latents.pixel_scale

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of x_t.

        Raises:
            UsageError: If the denoiser is not made for one size, and none was given.
        """
        if self._image_shape is None:
            raise UsageError("this denoiser takes images of any size: say which")
        return self._image_shape

    def encode(self, images: Tensor) -> Tensor:
        """Return x_0 of images (B, C, H, W) in [-1, 1]: their latents, or the images themselves."""
        return images if self.latents is None else self.latents.encode(images, self.device)

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


class PredictionDenoiser(Denoiser):
    """A denoiser that turns a prediction of noise, image or velocity into x0_hat.

    Args:
        scheduler: A diffusers scheduler.
        prediction_type: epsilon, sample, v_prediction (diffusion), or flow (flow matching).
        image_shape, latents: As for every denoiser.
    """

    def __init__(self, scheduler: Any, prediction_type: str, **space: Any) -> None:
        super().__init__(scheduler, **space)
        self._is_flow = not hasattr(scheduler, "alphas_cumprod")
        valid = _TO_X0.keys() - {"v_prediction" if self._is_flow else "flow"}
        if prediction_type not in valid:
            raise unknown_name("prediction type", prediction_type, valid)
        self.prediction_type = prediction_type

    @abstractmethod
    def predict(self, x_t: Tensor, timestep: Tensor) -> Any:
        """Return the prediction (B, C, H, W) at `timestep (B,)`: t, or 1000 sigma for a flow."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image; see `Denoiser.forward`.

        Raises:
            UsageError: If the prediction has another shape, or is not finite.
        """
        alpha, sigma = self.alpha_sigma(t, x_t.dtype)
        timestep = sigma.flatten() * self.timesteps if self._is_flow else t
        prediction = self.predict(x_t, timestep)
        if not isinstance(prediction, Tensor):
            raise UsageError(f"the network returned a {type(prediction).__name__}, not a tensor")
        if prediction.shape != x_t.shape:
            raise UsageError(
                f"the network returned shape {tuple(prediction.shape)} for {tuple(x_t.shape)}"
            )
        if not prediction.detach().isfinite().all():
            given = "" if x_t.detach().isfinite().all() else ", and neither is its input"
            raise UsageError(f"what the network returned is not finite{given}")
        return x0_hat(self.prediction_type, x_t, prediction, alpha, sigma)


class NetworkDenoiser(PredictionDenoiser):
    """A network `(sample, timestep) -> .sample` as a denoiser, whatever it predicts.

    Args:
        network: Called as diffusers models are.
        scheduler: Its `config.prediction_type` says what the network predicts; a flow-matching
            scheduler has none, and its network predicts the velocity.
        image_shape, latents: As for every denoiser.
    """

    def __init__(self, network: nn.Module, scheduler: Any, **space: Any) -> None:
        super().__init__(scheduler, scheduler.config.get("prediction_type", "flow"), **space)
        self.network = network

    def predict(self, x_t: Tensor, timestep: Tensor) -> Any:
        """Return what the network predicts; see `PredictionDenoiser.predict`."""
        return self.network(x_t, timestep).sample


class FunctionDenoiser(PredictionDenoiser):
    """Any function `(x_t, t) -> prediction` as a denoiser.

    Args:
        function: Takes x_t (B, C, H, W) and t (B,), returns (B, C, H, W). `t` is the index of the
            noise level; with a flow-matching scheduler it is 1000 sigma.
        scheduler: A diffusers scheduler: the noise schedule.
        prediction_type: What it returns: epsilon, sample (x0_hat), v_prediction or flow.
        image_shape, latents: As for every denoiser.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Any],
        scheduler: Any,
        prediction_type: str = "sample",
        **space: Any,
    ) -> None:
        super().__init__(scheduler, prediction_type, **space)
        self.function = function

    def predict(self, x_t: Tensor, timestep: Tensor) -> Any:
        """Return what the function predicts; see `PredictionDenoiser.predict`."""
        return self.function(x_t, timestep)


_TO_X0: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_t, eps, alpha, sigma: (x_t - sigma * eps) / alpha,
    "sample": lambda x_t, x_0, alpha, sigma: x_0,
    "v_prediction": lambda x_t, v, alpha, sigma: alpha * x_t - sigma * v,
    "flow": lambda x_t, v, alpha, sigma: x_t - sigma * v,
}


def x0_hat(
    prediction_type: str, x_t: Tensor, prediction: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return the clean image that a prediction means: (B, C, H, W)."""
    return _TO_X0[prediction_type](x_t, prediction, alpha, sigma)


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
