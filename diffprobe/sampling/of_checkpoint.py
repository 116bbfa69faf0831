"""Sampling from a checkpoint as a configuration says."""

from dataclasses import replace
from pathlib import Path

import torch

from diffprobe.config import Config, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.checkpoint_folder import find_checkpoint
from diffprobe.sampling.sampler import sample
from diffprobe.sampling.samples import Samples, load_samples


def sample_checkpoint(
    folder: Path,
    config: Config,
    dataset: SymbolImages,
    device: torch.device | str = "cpu",
    progress: Progress | bool = True,
) -> Samples:
    """Draw images from a run's checkpoint.

    Args:
        folder: Of the checkpoint.
        config: Of its run: sampler, how many images, which weights.
        dataset: Its world.
        device: Where to work.
        progress: Whether to show it, or what is called as tqdm is.

    Returns:
        The images; the `sampler` names the `training_step`, too.

    Raises:
        UsageError: If the network knows conditions alone, and none is asked for.
    """
    check_condition(config)
    denoiser = load_denoiser(folder, config.weights, device)
    made = sample(
        denoiser,
        dataset.image_shape,
        config.sampler,
        _resolved(config),
        progress,
        dataset=dataset,
        conditions=config.condition.build(dataset.grammar),
    )
    return replace(made, sampler={**made.sampler, "training_step": find_checkpoint(folder).step})


def check_condition(config: Config) -> None:
    """Raise UsageError where a network knows conditions alone, and none is asked for."""
    if config.condition.told and not (config.sampling.condition or config.condition.drop):
        raise UsageError(
            "this network was never trained without a condition (condition.drop = 0): say which by "
            "sampling.condition, such as 'all'"
        )


def sampled_before(path: Path, config: Config) -> Samples | None:
    """Return the samples in a file, if they were drawn as a configuration says."""
    if not path.exists():
        return None
    found = load_samples(path)
    # A file's name tells step, weights and sampler; noise depends on how images go together, too.
    wanted = _resolved(config)
    same = all(found.sampler.get(key) == value for key, value in vars(wanted).items())
    return found if same else None


def _resolved(config: Config) -> SamplingConfig:
    return replace(config.sampling, weights=config.weights)
