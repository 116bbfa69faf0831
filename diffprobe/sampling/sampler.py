"""Sampling from any denoiser with any sampler."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets.stored_images import room
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, as_progress
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import to_settings
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.sampling.given import Given
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samples import Samples


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    image_shape: tuple[int, int, int],
    sampler: SamplerKind,
    sampling: SamplingConfig,
    progress: Progress | bool = True,
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
    *,
    given: Given | None = None,
) -> Samples:
    """Draw images.

    Args:
        denoiser: A network or an oracle; its device is where the images are made.
        image_shape: C, H, W.
        sampler: How to get from noise to images.
        sampling: Number of steps, how many images, batch size, seed.
        progress: Whether to show it, or what is called as tqdm is.
        watch: Called at every step with the number of the batch, the noise level t (), x_t and
            x0_hat, both (B, C, H, W), to look along the path.
        given: Cells that stay as they are; the others are sampled on this condition.

    Returns:
        `sampling.n` images on the CPU, or in a temporary file where memory does not hold them, and
        the resolved sampler.

    Raises:
        MemoryLimitError: If a budget does not hold a single image's activations.
        UsageError: If the sampler is not for this denoiser or cannot be watched, a number is out of
            range, or given cells do not fit the images.
    """
    _check(sampling, denoiser.timesteps)
    if given is not None:
        given.check(sampling.n, image_shape)
    device, schedule = denoiser.device, denoiser.schedule
    path = sampler.path(schedule, sampling.steps)
    if watch is not None and path.levels.ndim == 2:
        raise UsageError(
            f"sampler {sampler.name} visits many noise levels at once, and what looks along the "
            "path needs one: choose another sampler"
        )
    at_once = inputs_at_once(denoiser, image_shape, sampling.batch_size)
    batches = range(0, sampling.n, sampling.batch_size)
    # A sampler may look more often than it steps.
    steps = len(batches) * len(path.levels)
    bar = as_progress(progress)(total=steps, desc="sample", unit="step")
    images = room((sampling.n, *image_shape))
    for index, first in enumerate(batches):
        random = generator(sampling.seed, "sampling", index, device)
        noise_of_given = generator(sampling.seed, "given cells", index, device)
        n = min(sampling.batch_size, sampling.n - first)
        known = None if given is None else given.part(first, n, device)
        x = path.start(torch.randn((n, *image_shape), generator=random, device=device))
        with denoiser.checked_together():
            for step, level in enumerate(path.levels):
                x_t = path.model_input(x, step)
                t = level.expand(n, *level.shape)
                if known is not None and denoiser.cells is not None:
                    x_t, t = known.onto(x_t), known.levels(t)
                elif known is not None:
                    x_t = known.noisy_onto(x_t, t, schedule, noise_of_given)
                x0_hat = _in_parts(denoiser, x_t, t, at_once)
                if watch is not None:
                    watch(index, level, x_t, x0_hat)
                x = path.advance(x, x_t, x0_hat, step, random)
                bar.update()
        images[first : first + n] = x if known is None else known.onto(x)
    bar.close()
    description = {
        "sampler": to_settings(sampler),
        "steps": sampling.steps,
        "n": sampling.n,
        "batch_size": sampling.batch_size,
        "seed": sampling.seed,
        "weights": sampling.weights,
        **path.description(),
    }
    return Samples(images, description)


def _in_parts(denoiser: Denoiser, x_t: Tensor, t: Tensor, at_once: int) -> Tensor:
    if len(x_t) <= at_once:
        whole: Tensor = denoiser(x_t, t)
        return whole
    parts = zip(x_t.split(at_once), t.split(at_once), strict=True)
    return torch.cat([denoiser(*part) for part in parts])


def _check(sampling: SamplingConfig, timesteps: int) -> None:
    if sampling.steps > timesteps:
        raise UsageError(
            f"sampling.steps={sampling.steps} exceeds the {timesteps} noise levels of the schedule"
        )
