"""The denoiser: one map `(x_t, t) -> x0_hat`, for networks of any prediction type and oracles."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.errors import UsageError
from diffprobe.models.latents import LatentSpace
from diffprobe.models.noise_schedule import NoiseSchedule
from diffprobe.models.noise_settings import NoiseConfig


class Denoiser(nn.Module, ABC):
    """An estimate of `E[x_0 | x_t]`.

    Args:
        scheduler: A diffusers scheduler of a diffusion (with `alphas_cumprod`) or of flow
            matching; it defines what `t` means.
        image_shape: C, H, W in the denoiser's own space, if it is made for one size.
        latents: The space it works in, unless that is pixels.
        cells: The cells whose noise levels may differ; None where an image has one level.

    Attributes:
        schedule: What the noise levels are.
    """

    def __init__(
        self,
        scheduler: Any,
        *,
        image_shape: tuple[int, int, int] | None = None,
        latents: LatentSpace | None = None,
        cells: CellGrid | None = None,
    ) -> None:
        super().__init__()
        self.schedule = NoiseSchedule(scheduler, cells)
        self.latents = latents
        self._image_shape = image_shape

    def extra_repr(self) -> str:
        """What the repr says beside the parts."""
        shape = "of any size" if self._image_shape is None else str(self._image_shape)
        return f"images {shape}, {self.timesteps:,} noise levels"

    @property
    def scheduler(self) -> Any:
        """The diffusers scheduler that defines the noise levels."""
        return self.schedule.scheduler

    @property
    def cells(self) -> CellGrid | None:
        """The cells whose noise levels may differ; None where an image has one level."""
        return self.schedule.cells

    @property
    def device(self) -> torch.device:
        """Where the denoiser is, and where its inputs must be."""
        return self.schedule.device

    @property
    def timesteps(self) -> int:
        """Number of noise levels; `t` runs from 0 to one less."""
        return self.schedule.timesteps

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

    def check_shape(self, x_t: Tensor) -> None:
        """Raise UsageError unless `x_t (B, C, H, W)` has the size that the denoiser is made for."""
        if self._image_shape is not None and tuple(x_t.shape[1:]) != self._image_shape:
            raise UsageError(
                f"the images are {tuple(x_t.shape[1:])} (C, H, W); the denoiser takes "
                f"{self._image_shape}"
            )

    def encode(self, images: Tensor) -> Tensor:
        """Return x_0 of images (B, C, H, W) in [-1, 1]: their latents, or the images themselves."""
        return images if self.latents is None else self.latents.encode(images, self.device)

    def checked_together(self) -> AbstractContextManager[None]:
        """Return a context for many calls in a row; what is computed exactly needs no look."""
        return contextlib.nullcontext()

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image.

        Args:
            x_t: (B, C, H, W) noisy images.
            t: (B,) long in `range(timesteps)`; or, where the denoiser has `cells`, (B, cells) long,
                `noise_schedule.GIVEN` being the level of a cell that is known.

        Returns:
            (B, C, H, W) x0_hat.
        """

    def alpha_sigma(self, t: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t of images; see `NoiseSchedule.alpha_sigma`."""
        return self.schedule.alpha_sigma(t, dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha² / sigma²) at `t`: float64 on the CPU, in nats."""
        return self.schedule.log_snr(t)

    def noise(self, x_0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """Return `x_t` of clean images `x_0 (B, C, H, W)` at `t`, (B,) or (B, cells)."""
        eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
        return self.schedule.noise(x_0, eps, t)


class PredictionDenoiser(Denoiser):
    """A denoiser that turns a prediction of noise, image or velocity into x0_hat.

    Args:
        scheduler: A diffusers scheduler.
        prediction_type: epsilon, sample, v_prediction (diffusion), or flow (flow matching).
        image_shape, latents, cells: As for every denoiser.
    """

    def __init__(self, scheduler: Any, prediction_type: str, **space: Any) -> None:
        super().__init__(scheduler, **space)
        self.schedule.check_prediction_type(prediction_type)
        self.prediction_type = prediction_type
        self._finite: list[Tensor] | None = None

    @contextlib.contextmanager
    def checked_together(self) -> Iterator[None]:
        """Look once at the end whether outputs were finite: each look waits for the device."""
        looked_at: list[Tensor] = []
        self._finite = looked_at
        try:
            yield
        finally:
            self._finite = None
        if looked_at and not torch.stack(looked_at).all():
            raise UsageError("what the network returned is not finite")

    @abstractmethod
    def predict(self, x_t: Tensor, timestep: Tensor) -> Any:
        """Return the prediction (B, C, H, W) at `timestep`: see `NoiseSchedule.timestep`."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Estimate the clean image; see `Denoiser.forward`.

        Raises:
            UsageError: If the prediction has another shape, or is not finite.
        """
        prediction = self.predict(x_t, self.schedule.timestep(t, x_t.dtype))
        if not isinstance(prediction, Tensor):
            raise UsageError(f"the network returned a {type(prediction).__name__}, not a tensor")
        if prediction.shape != x_t.shape:
            raise UsageError(
                f"the network returned shape {tuple(prediction.shape)} for {tuple(x_t.shape)}"
            )
        finite = prediction.detach().isfinite().all()
        if self._finite is not None:
            self._finite.append(finite)
        elif not finite:
            given = "" if x_t.detach().isfinite().all() else ", and neither is its input"
            raise UsageError(f"what the network returned is not finite{given}")
        return self.schedule.x0_hat(self.prediction_type, x_t, prediction, t)


class NetworkDenoiser(PredictionDenoiser):
    """A network `(sample, timestep) -> .sample` as a denoiser, whatever it predicts.

    Args:
        network: Called as diffusers models are. One whose configuration has a `grid` takes noise
            levels by cell.
        scheduler: Its `config.prediction_type` says what the network predicts; a flow-matching
            scheduler has none, and its network predicts the velocity.
        image_shape, latents, cells: As for every denoiser.
    """

    def __init__(self, network: nn.Module, scheduler: Any, **space: Any) -> None:
        settings = getattr(network, "config", {})
        if settings.get("grid"):
            space["cells"] = CellGrid.of(settings["image_shape"], settings["grid"])
        super().__init__(scheduler, scheduler.config.get("prediction_type", "flow"), **space)
        self.network = network

    def predict(self, x_t: Tensor, timestep: Tensor) -> Any:
        """Return what the network predicts; see `PredictionDenoiser.predict`."""
        return self.network(x_t, timestep).sample


class FunctionDenoiser(PredictionDenoiser):
    """Any function `(x_t, t) -> prediction` as a denoiser.

    Args:
        function: Takes x_t (B, C, H, W) and t (B,), returns (B, C, H, W). `t` is the index of the
            noise level; with a flow-matching scheduler it is 1000 sigma. With `cells`, t may be
            (B, cells).
        scheduler: A diffusers scheduler: the noise schedule.
        prediction_type: What it returns: epsilon, sample (x0_hat), v_prediction or flow.
        image_shape, latents, cells: As for every denoiser.
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
