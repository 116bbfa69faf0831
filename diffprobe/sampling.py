"""Sampling from any denoiser with any diffusers scheduler.

Every denoiser returns x0_hat, so each sampler runs with `prediction_type="sample"`, and networks
and oracles are sampled by the same code. A flow follows its velocity (x_t - x0_hat) / sigma.
"""

import inspect
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.foundations.atomic import atomic_file
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.tables import html_table
from diffprobe.models.denoiser import Denoiser

SAMPLERS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
FLOW_SAMPLERS = ("ddim", "euler", "FlowMatchEulerDiscreteScheduler")


@dataclass(frozen=True, repr=False)
class Samples:
    """Sampled images and how they were made.

    Attributes:
        images: (N, C, H, W) float32.
        sampler: The resolved sampler: class, its configuration, steps, eta, seed, batch size, and
            what was sampled.
    """

    images: Tensor
    sampler: Mapping[str, Any]

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        how = f", {self.sampler['class']}" if "class" in self.sampler else ""
        return f"<Samples: {n:,} images of {' × '.join(map(str, shape))}{how}>"

    def _repr_html_(self) -> str:
        told = ("class", "steps", "eta", "seed", "weights")
        return html_table([{k: self.sampler[k] for k in told if k in self.sampler}], repr(self))

    def save(self, path: Path) -> None:
        """Write an `.npz` with `images`, and `sampler` as JSON text."""
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file, images=self.images.numpy(), sampler=np.array(json.dumps(dict(self.sampler)))
            )


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    image_shape: tuple[int, int, int],
    config: SamplingConfig,
    progress: Progress = silent,
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
) -> Samples:
    """Draw images.

    Args:
        denoiser: A network or an oracle; its device is where the images are made.
        image_shape: C, H, W.
        config: Sampler, number of steps, eta, how many images, batch size, seed.
        progress: Called as tqdm is.
        watch: Called at every step with the number of the batch, the noise level t (), x_t and
            x0_hat, both (B, C, H, W), to look along the path.

    Returns:
        `config.n` images on the CPU, and the resolved sampler.

    Raises:
        UsageError: If the sampler is unknown or a number is out of range.
    """
    _check(config, denoiser.timesteps)
    device = denoiser.device
    is_flow = isinstance(denoiser.scheduler, FlowMatchEulerDiscreteScheduler)
    batches = range(0, config.n, config.batch_size)
    bar = progress(total=len(batches) * config.steps, desc="sample", unit="step")
    images = []
    for index, first in enumerate(batches):
        scheduler = make_sampler(config.sampler, denoiser.scheduler)
        levels = _set_levels(scheduler, denoiser, config.steps)
        random = generator(config.seed, "sampling", index, device)
        options = _step_options(scheduler, config.eta, random)
        shape = (min(config.batch_size, config.n - first), *image_shape)
        x = torch.randn(shape, generator=random, device=device)
        if not is_flow:
            x = x * scheduler.init_noise_sigma
        for t, timestep in zip(levels, scheduler.timesteps, strict=True):
            x_t = x if is_flow else scheduler.scale_model_input(x, timestep)
            x0_hat = denoiser(x_t, t.expand(len(x)))
            if watch is not None:
                watch(index, t, x_t, x0_hat)
            output = (x_t - x0_hat) / denoiser.alpha_sigma(t[None])[1] if is_flow else x0_hat
            x = scheduler.step(output, timestep, x, **options).prev_sample
            bar.update()
        images.append(x.float().cpu())
    bar.close()
    return Samples(torch.cat(images), _describe(scheduler, config))


def make_sampler(name: str, training_scheduler: Any) -> Any:
    """Return a diffusers scheduler for x0_hat over the noise levels of `training_scheduler`.

    Args:
        name: ddpm, ddim, dpm-solver++, euler, or a diffusers scheduler class; for flow matching
            ddim or euler, which are the same.
        training_scheduler: Whose betas the sampler takes.

    Raises:
        UsageError: If there is no such class, or it is not for this process.
    """
    if isinstance(training_scheduler, FlowMatchEulerDiscreteScheduler):
        if name not in FLOW_SAMPLERS:
            raise UsageError(
                f"sampler {name} is not for flow matching; choose from {', '.join(FLOW_SAMPLERS)}"
            )
        return FlowMatchEulerDiscreteScheduler(training_scheduler.config.num_train_timesteps)
    class_name = SAMPLERS.get(name, name)
    classes = [c for c in dir(diffusers) if c.endswith("Scheduler") and c[0].isupper()]
    if class_name not in classes:
        raise unknown_name("sampler", name, [*SAMPLERS, *classes])
    try:
        scheduler = getattr(diffusers, class_name).from_config(
            training_scheduler.config,
            timestep_spacing="trailing",
            prediction_type="sample",
            **_fixed_variance(training_scheduler.config),
        )
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise UsageError(f"sampler {class_name} cannot be used here: {error}") from error
    if not hasattr(scheduler, "init_noise_sigma") or not hasattr(scheduler, "scale_model_input"):
        raise UsageError(
            f"sampler {class_name} cannot be used here: it is not for a variance-preserving process"
        )
    return scheduler


def has_eta(name: str, training_scheduler: Any) -> bool:
    """Whether a sampler, named as in `make_sampler`, has an eta to set.

    Raises:
        UsageError: If there is no such sampler.
    """
    return _has_eta(make_sampler(name, training_scheduler))


def load_samples(path: Path) -> Samples:
    """Read images from an `.npz`: the array `images`, or the only array in the file.

    Nothing is unpickled.

    Raises:
        UsageError: If the file is missing, damaged, or holds no such array of floats.
    """
    if not path.exists():
        raise UsageError(f"no file of samples at {path}")
    try:
        # numpy leaves a file that it opened itself open when it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [n for n in archive.files if n != "sampler"]
            if "images" not in names and len(names) != 1:
                raise UsageError(f"{path} has no array named 'images' (it has {names})")
            images = archive["images" if "images" in names else names[0]]
            sampler = json.loads(str(archive["sampler"])) if "sampler" in archive.files else {}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, UsageError):
            raise
        reason = "it holds pickled objects" if "pickle" in str(error).lower() else str(error)
        raise UsageError(f"{path} cannot be read as an .npz of images: {reason}") from error
    if not np.issubdtype(images.dtype, np.floating):
        raise UsageError(
            f"{path} holds images of {images.dtype}; they must be floats in [-1, 1] "
            "(bytes from 0 to 255 are x / 127.5 - 1)"
        )
    if images.ndim == 3:
        images = images[:, None]
    return Samples(torch.from_numpy(images).float(), sampler)


def samples_name(step: int | None, config: SamplingConfig, weights: str) -> str:
    """Return the file name of samples, one for each way to make them."""
    at = "checkpoint" if step is None else f"step-{step:06d}"
    eta = f"_eta-{config.eta:g}" if config.eta else ""
    return (
        f"{at}_{weights}_{config.sampler}-{config.steps}{eta}_n-{config.n}_seed-{config.seed}.npz"
    )


def _set_levels(scheduler: Any, denoiser: Denoiser, steps: int) -> Tensor:
    """Set the sampler's steps; return the noise level t of each, (steps,) or more."""
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        scheduler.set_timesteps(steps, device=denoiser.device)
        levels: Tensor = scheduler.timesteps.long()
        return levels
    # As the "trailing" spacing of diffusions; the shift is in the denoiser's sigmas already.
    spaced = torch.arange(denoiser.timesteps, 0, -denoiser.timesteps / steps, dtype=torch.float64)
    levels = spaced[:steps].round().long().to(denoiser.device) - 1
    scheduler.set_timesteps(sigmas=denoiser.sigmas[levels].tolist(), device=denoiser.device)
    return levels


def _fixed_variance(config: Mapping[str, Any]) -> dict[str, str]:
    # A denoiser gives x0_hat alone, even where its network learned a variance.
    learned = str(config.get("variance_type")).startswith("learned")
    return {"variance_type": "fixed_small"} if learned else {}


def _step_options(scheduler: Any, eta: float, random: torch.Generator) -> dict[str, Any]:
    accepted = inspect.signature(scheduler.step).parameters
    if eta and not _has_eta(scheduler):
        raise UsageError(f"sampler {type(scheduler).__name__} has no eta; leave sampling.eta at 0")
    options: dict[str, Any] = {"generator": random} if "generator" in accepted else {}
    return {**options, "eta": eta} if _has_eta(scheduler) else options


def _has_eta(scheduler: Any) -> bool:
    return "eta" in inspect.signature(scheduler.step).parameters


def _describe(scheduler: Any, config: SamplingConfig) -> dict[str, Any]:
    # Arrays among diffusers' settings (trained betas) are not JSON.
    plain = {k: v for k, v in scheduler.config.items() if k[0] != "_" and not hasattr(v, "shape")}
    return {
        "class": type(scheduler).__name__,
        "steps": config.steps,
        "timesteps": [float(t) for t in scheduler.timesteps],
        "eta": config.eta,
        "n": config.n,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "weights": config.weights,
        "config": plain,
    }


def _check(config: SamplingConfig, timesteps: int) -> None:
    for name in ("steps", "n", "batch_size"):
        if getattr(config, name) < 1:
            raise UsageError(f"sampling.{name} must be at least 1, not {getattr(config, name)}")
    if config.steps > timesteps:
        raise UsageError(
            f"sampling.steps={config.steps} exceeds the {timesteps} noise levels of the schedule"
        )
    if not 0 <= config.eta <= 1:
        raise UsageError(f"sampling.eta must lie in [0, 1], not {config.eta}")
