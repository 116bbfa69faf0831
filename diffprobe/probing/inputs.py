"""Where the clean images come from of which no grammar is known."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffprobe.config import Config
from diffprobe.datasets import ImageSet
from diffprobe.datasets.image_set import read_images
from diffprobe.datasets.stored_images import held
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.settings import to_settings
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.cache import Keep
from diffprobe.probing.identity import hash_of_denoiser, hash_of_network
from diffprobe.sampling import sample

# What a denoiser draws to be probed on need be plausible, not its best: the baselines, which are
# made of these images, gain more from many than from fine ones.
OWN_STEPS = 12


def pictures(denoiser: Denoiser, folder: Path) -> ImageSet:
    """Read a folder of pictures into the denoiser's own space."""
    channels, height, width = denoiser.image_shape
    if denoiser.space == "latents":
        channels = 3
        height, width = height * denoiser.pixel_scale, width * denoiser.pixel_scale
    with torch.no_grad():
        images = denoiser.encode(read_images(folder, (channels, height, width)))
    return ImageSet(images.cpu(), f"pictures of {folder.name}")


def own_samples(
    denoiser: Denoiser, config: Config, progress: Progress, cache: Path | None
) -> ImageSet:
    """Let the denoiser make its inputs itself, in `OWN_STEPS` at most; `cache` keeps them."""
    steps = min(config.sampling.steps, OWN_STEPS)
    sampling = replace(config.sampling.plain, n=config.probe.images, steps=steps)
    known = hash_of_denoiser(denoiser, hash_of_network(denoiser))
    settings = {
        "denoiser": known,
        "shape": denoiser.image_shape,
        "sampler": to_settings(config.sampler),
        "sampling": to_settings(sampling),
    }
    made = Keep(cache if known is not None else None, "own", settings)(
        "samples",
        Tensor,
        lambda: held(
            sample(denoiser, denoiser.image_shape, config.sampler, sampling, progress).images,
            "probing on its own samples",
        ),
    )
    return ImageSet(made, f"its own samples ({config.sampler.title}, {sampling.steps} steps)")
