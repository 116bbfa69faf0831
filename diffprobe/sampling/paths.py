"""Paths from noise to images: which noise levels are visited, and the step between two of them.

Every denoiser returns x0_hat, so each scheduler of diffusers runs with `prediction_type="sample"`,
and networks and oracles are sampled by the same code. A flow follows its velocity
(x_t - x0_hat) / sigma.
"""

import contextlib
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import diffusers
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging
from torch import Tensor

from diffprobe.foundations.errors import UsageError, first_line
from diffprobe.models.noise_schedule import NoiseSchedule
from diffprobe.sampling.samplers import for_flows

# What a scheduler takes that was walked to its end, by all that its way depends on.
_WALKED: dict[str, str] = {}


class NoisePath(ABC):
    """The way of one batch after another; it may remember the steps it took since `start`.

    Attributes:
        levels: The noise level t of each evaluation of the denoiser, (S,) long, or (S, cells).
    """

    levels: Tensor

    def start(self, noise: Tensor) -> Tensor:
        """Return where the path begins, from standard normal `noise (B, C, H, W)`."""
        return noise

    def model_input(self, x: Tensor, step: int) -> Tensor:
        """Return x_t = alpha x_0 + sigma eps of where the path is before `step`."""
        return x

    @abstractmethod
    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Return where the path is after `step`.

        Args:
            x: (B, C, H, W), where it is before.
            x_t: The model input.
            x0_hat: What the denoiser makes of it.
            step: From 0.
            generator: Of fresh noise.
        """

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return "class", "timesteps" and "config", in terms of JSON."""


class SchedulerPath(NoisePath):
    """The path of a diffusers scheduler, for diffusions.

    Args:
        sampler: What the sampler is called, for messages.
        schedule: The noise levels that the denoiser knows.
        steps: How many.
        scheduler: Name of a diffusers class.
        step_options: Further arguments of each step.
        settings: Of the scheduler, over those of the denoiser's.

    Raises:
        UsageError: If the schedule is a flow's, or the scheduler cannot follow it.
    """

    def __init__(
        self,
        sampler: str,
        schedule: NoiseSchedule,
        steps: int,
        *,
        scheduler: str,
        step_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if schedule.is_flow:
            raise UsageError(
                f"sampler {sampler} is not for flow matching; choose from {', '.join(for_flows())}"
            )
        options = dict(step_options or {})
        cls = getattr(diffusers, scheduler)
        config = {**_settings(cls, schedule), **settings}

        def make(prediction: str) -> Any:
            made = cls(prediction_type=prediction, **config)
            # On the CPU, so that no step asks the device where it is.
            made.set_timesteps(steps, device="cpu")
            return made

        reason: Exception | None = None
        way = repr((scheduler, sorted(config.items()), steps, options))
        with _quiet():
            for prediction in [_WALKED[way]] if way in _WALKED else ["sample", "epsilon"]:
                try:
                    if way not in _WALKED:
                        _walk(make(prediction), options)
                # What does not fit fails anywhere in the library, each class in its own way.
                except Exception as error:
                    reason = reason or error
                    continue
                break
            else:
                raise UsageError(
                    f"sampler {sampler} cannot be used here in {steps} steps: "
                    f"{first_line(reason) if reason else ''}"
                ) from reason
            self.scheduler = make(prediction)
        _WALKED[way] = prediction
        self.schedule = schedule
        self.levels = self.scheduler.timesteps.long().to(schedule.device)
        self._make = partial(make, prediction)
        self._walked = False
        self._takes_epsilon = prediction == "epsilon"
        self._options = options
        self._takes_generator = "generator" in inspect.signature(cls.step).parameters

    def start(self, noise: Tensor) -> Tensor:
        """Scale the noise as the scheduler has it."""
        if self._walked:
            with _quiet():
                self.scheduler = self._make()
        self._walked = True
        result: Tensor = noise * self.scheduler.init_noise_sigma
        return result

    def model_input(self, x: Tensor, step: int) -> Tensor:
        """Scale to x_t; see `NoisePath.model_input`."""
        result: Tensor = self.scheduler.scale_model_input(x, self.scheduler.timesteps[step])
        return result

    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Take the scheduler's step; see `NoisePath.advance`."""
        random = {"generator": generator} if self._takes_generator else {}
        timestep = self.scheduler.timesteps[step]
        output = self._epsilon(x_t, x0_hat, step) if self._takes_epsilon else x0_hat
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            after = self.scheduler.step(output, timestep, x, **random, **self._options)
        result: Tensor = after.prev_sample
        return result

    def _epsilon(self, x_t: Tensor, x0_hat: Tensor, step: int) -> Tensor:
        """The noise that x0_hat means, for schedulers that take nothing else."""
        alpha, sigma = self.schedule.alpha_sigma(self.levels[step][None], x_t.dtype)
        return (x_t - alpha * x0_hat) / sigma

    def description(self) -> dict[str, Any]:
        """Describe the scheduler; see `NoisePath.description`."""
        return _described(self.scheduler)


class FlowPath(NoisePath):
    """Euler's method along the velocity of a flow, evenly spaced before the schedule's shift."""

    def __init__(self, schedule: NoiseSchedule, steps: int) -> None:
        # The shift is in the schedule's sigmas already.
        self.scheduler = FlowMatchEulerDiscreteScheduler(schedule.timesteps)
        self.schedule = schedule
        levels = trailing_levels(schedule.timesteps, steps)
        self.levels = levels.to(schedule.device)
        self._sigmas = schedule.sigmas.cpu()[levels].tolist()
        self.scheduler.set_timesteps(sigmas=self._sigmas, device="cpu")

    def start(self, noise: Tensor) -> Tensor:
        """Begin at the noise itself."""
        self.scheduler.set_timesteps(sigmas=self._sigmas, device="cpu")
        return noise

    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Follow the velocity; see `NoisePath.advance`."""
        _, sigma = self.schedule.alpha_sigma(self.levels[step][None])
        velocity = (x_t - x0_hat) / sigma
        after = self.scheduler.step(velocity, self.scheduler.timesteps[step], x)
        result: Tensor = after.prev_sample
        return result

    def description(self) -> dict[str, Any]:
        """Describe the scheduler; see `NoisePath.description`."""
        return _described(self.scheduler)


def ddim_step(
    schedule: NoiseSchedule,
    x_t: Tensor,
    x0_hat: Tensor,
    before: Tensor,
    after: Tensor,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return x_t moved from one noise level to another, along the probability flow at eta 0.

        x' = alpha' x0_hat + sqrt(sigma'² - s²) eps_hat + s eps,
        eps_hat = (x_t - alpha x0_hat) / sigma,

    with s as `ddim_noise` has it.

    Args:
        schedule: What the levels mean.
        x_t, x0_hat: (B, C, H, W).
        before, after: (1,) or (1, cells) long; of a cell that is given before, x_t has no noise,
            and what is returned there is of no use.
        eta: Share of DDPM's noise, in [0, 1].
        generator: Of the noise.

    Reference:
        Song et al., "Denoising diffusion implicit models", arXiv:2010.02502, eq. 12.
    """
    mean = ddim_mean(schedule, x_t, x0_hat, before, after, eta)
    if not eta:
        return mean
    eps = torch.randn(x_t.shape, generator=generator, device=x_t.device, dtype=x_t.dtype)
    return mean + ddim_noise(schedule, before, after, eta, x_t.dtype) * eps


def ddim_mean(
    schedule: NoiseSchedule,
    x_t: Tensor,
    x0_hat: Tensor,
    before: Tensor,
    after: Tensor,
    eta: float = 0.0,
) -> Tensor:
    """Return where a step of `ddim_step` leads before its noise is added."""
    alpha, sigma = schedule.alpha_sigma(before, x_t.dtype)
    next_alpha, next_sigma = schedule.alpha_sigma(after, x_t.dtype)
    eps_hat = (x_t - alpha * x0_hat) / sigma.where(sigma > 0, 1.0)
    if eta:
        noise = ddim_noise(schedule, before, after, eta, x_t.dtype)
        next_sigma = (next_sigma.square() - noise.square()).clamp(min=0).sqrt()
    config = schedule.scheduler.config
    # As diffusers' DDIM does with images in [-1, 1], whose noise it computes before.
    if config.get("clip_sample"):
        x0_hat = x0_hat.clamp(-config["clip_sample_range"], config["clip_sample_range"])
    return next_alpha * x0_hat + next_sigma * eps_hat


def ddim_noise(
    schedule: NoiseSchedule,
    before: Tensor,
    after: Tensor,
    eta: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the standard deviation s of a step's noise: (1, 1, 1, 1), or by cell (1, 1, H, W).

        s² = eta² sigma'² (1 - (alpha sigma' / alpha' sigma)²),

    eta² times the variance of x' given x_t and x_0; that of DDPM for a diffusion.
    """
    alpha, sigma = schedule.alpha_sigma(before, dtype)
    next_alpha, next_sigma = schedule.alpha_sigma(after, dtype)
    kept = alpha * next_sigma / (next_alpha * sigma.where(sigma > 0, 1.0))
    return eta * next_sigma * (1 - kept.square()).clamp(min=0).sqrt()


def trailing_levels(timesteps: int, steps: int) -> Tensor:
    """Return evenly spaced noise levels (steps,) long, the noisiest first: "trailing" spacing.

    >>> trailing_levels(1000, 4)
    tensor([999, 749, 499, 249])
    """
    spaced = torch.arange(timesteps, 0, -timesteps / steps, dtype=torch.float64)
    return spaced[:steps].round().long() - 1


def _settings(cls: Any, schedule: NoiseSchedule) -> dict[str, Any]:
    """Those of the denoiser's own scheduler that a class knows."""
    known = inspect.signature(cls.__init__).parameters
    # PLMS mixes the noise of two levels and divides by alpha: from where that vanishes, as at the
    # end of a cosine schedule, x_t leaves all bounds, in diffusers 0.42's own loop as here. Its
    # usual spacing begins short of that.
    plms = issubclass(cls, diffusers.PNDMScheduler)
    # Runge-Kutta steps at a vanishing alpha divide by it; without them PNDM is PLMS.
    config = {
        **schedule.scheduler.config,
        "timestep_spacing": "leading" if plms else "trailing",
        "skip_prk_steps": True,
        # Consistency samplers choose among so many levels; by default 50.
        "original_inference_steps": schedule.timesteps,
    }
    # A denoiser gives x0_hat alone, even where its network learned a variance.
    if str(config.get("variance_type")).startswith("learned"):
        config["variance_type"] = "fixed_small"
    return {k: v for k, v in config.items() if k in known and k != "prediction_type"}


def _walk(scheduler: Any, options: Mapping[str, Any]) -> None:
    """Take all steps with one pixel, so that what fails does so before any work is done."""
    x = torch.zeros(1, 1, 1, 1, device=scheduler.timesteps.device) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(torch.zeros_like(x), timestep, x, **options).prev_sample
    if not bool(x.isfinite().all()):
        raise ValueError("where it ends is not finite")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence diffusers and numpy: what they say of a scheduler's settings is not the user's."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)


def _described(scheduler: Any) -> dict[str, Any]:
    # Arrays among diffusers' settings (trained betas) are not JSON.
    plain = {k: v for k, v in scheduler.config.items() if k[0] != "_" and not hasattr(v, "shape")}
    return {
        "class": type(scheduler).__name__,
        "timesteps": [float(t) for t in scheduler.timesteps],
        "config": plain,
    }
