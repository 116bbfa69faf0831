"""Denoisers opened for probing: anybody's, beside every oracle that can be known."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.datasets.batches import as_batch
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, as_progress
from diffprobe.models.checkpoint import kind_of_network, load_denoiser
from diffprobe.models.checkpoint_folder import find_checkpoint
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.models.foreign import Condition
from diffprobe.models.named import is_named
from diffprobe.probing.cache import Keep, fingerprint
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.probing.identity import hash_of_images
from diffprobe.probing.inputs import own_samples, pictures
from diffprobe.probing.noise_levels import check_level, nearest_level, symbols_form_at
from diffprobe.probing.optima import known_oracles
from diffprobe.probing.regions import Regions, default_regions, parse_regions
from diffprobe.probing.subject import Subject
from diffprobe.sampling.stored import stored_sample
from diffprobe.training.own_copy import own_copy
from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

# How often a reverse pass holds the activations: once kept, and what becomes of them.
GRAPHS = 1.5

if TYPE_CHECKING:
    from numpy.typing import NDArray


def subject_of(
    denoiser: Denoiser,
    images: "SymbolImages | ImageSet | torch.Tensor | NDArray[Any]",
    config: Config | None = None,
    *,
    architecture: str = "network",
    log_snr: float | None = None,
    regions: Regions | None = None,
    name: str = "network",
    run: RunFolder | None = None,
    step: int | None = None,
    progress: Progress | bool = True,
    own: Config | None = None,
    asked: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> Subject:
    """Put a denoiser beside every oracle that its images allow.

    Args:
        denoiser: What is probed: a loaded network, or a function made a denoiser.
        images: A dataset whose grammar is known, or images in the denoiser's own space: a set, or
            a tensor or array, (M, C, H, W) or (M, H, W).
        config: `probe`, `probes`, `sampling` and, for the empirical oracle, `stream`.
        architecture: Colour and label in figures.
        log_snr: Where to look, instead of `probe.level`.
        regions: The cells of a dataset, or a grid, by default.
        name, run, step: Where the denoiser comes from.
        progress: Whether to show it, or what is called as tqdm is.
        own: Settings that results are called after where `config` differs; by default `config`.
        asked: Other ways in which the denoiser was opened than its own.
        cache: Where what the grammar is worth is kept; None keeps nothing.

    Raises:
        UsageError: If the images have another shape than the regions, or the level is outside the
            schedule.
        MemoryLimitError: If a budget does not hold a single input.
    """
    config = config or Config()
    if not isinstance(images, SymbolImages | ImageSet):
        images = ImageSet(as_batch(images), "images given as a tensor")
        denoiser.check_shape(images.images)
    regions = regions or default_regions(images)
    if tuple(regions.masks.shape[1:]) != images.image_shape:
        raise UsageError(
            f"the regions are of images {tuple(regions.masks.shape[1:])}; these are "
            f"{images.image_shape}"
        )
    oracles = {
        who: oracle.to(denoiser.device)
        for who, oracle in known_oracles(denoiser, images, config).items()
    }
    named = own or config
    config, named = _within_budget([config, named], [denoiser, *oracles.values()], images)
    weight = forms_at = None
    if isinstance(images, SymbolImages):
        weight, forms_at = _where_to_look(denoiser, images, config.probe, cache)
    if log_snr is not None:
        level = nearest_level(denoiser, log_snr)
        config = replace(config, probe=replace(config.probe, level=level))
        named = named if own else config
    level = config.probe.level
    if level == -1:
        level = _even_level(denoiser) if weight is None else weight.most
    check_level(denoiser, level)
    looked_into = None
    if config.probe.sample != -1:
        if run is None:
            raise _no_samples(name)
        looked_into = stored_sample(
            run, step, config.weights, config.probe.sample, denoiser, level, config.probe.seed
        )
        level = looked_into.t
    return Subject(
        denoiser=denoiser,
        architecture=architecture,
        images=images,
        regions=regions,
        oracles=oracles,
        config=config,
        level=level,
        forms_at=forms_at,
        weight=weight,
        name=name,
        run=run,
        step=step,
        sample=looked_into,
        progress=as_progress(progress),
        own=named,
        asked=asked or {},
    )


def open_subject(
    checkpoint: str | Path,
    config: Config | None = None,
    *,
    dataset: SymbolImages | None = None,
    images: Path | None = None,
    log_snr: float | None = None,
    regions: str | None = None,
    condition: Condition | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | bool = True,
    own: Config | None = None,
    cache: Path | None = None,
) -> Subject:
    """Load anybody's denoiser and put it beside every oracle that can be known.

    Args:
        checkpoint: A run folder, a checkpoint in one, a diffusers folder, `zoo:NAME` or
            `hub:owner/name`; of the last two a copy in runs/ is opened where it is a run.
        config: Settings of the probes and the sampler; by default the run's own.
        dataset: What the denoiser was trained on, where it is not part of a run.
        images: A folder of pictures to take the inputs from instead. Without either, they are the
            denoiser's own samples.
        log_snr: Where to look, instead of `probe.level`.
        regions: As `parse_regions` reads it; by default the cells, or a grid of 4×4.
        condition: Prompt, class or embeddings that a conditional model is held at.
        size: Height and width in pixels of a foreign model's images, instead of its own.
        device: Where to work.
        progress: Whether to show it, or what is called as tqdm is.
        own: Settings that results are called after where `config` differs from them; by default
            the run's, or `config` where there is no run.
        cache: Where the inputs that a denoiser made itself are kept, and what the grammar is worth;
            None keeps nothing.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
        UsageError: If images, regions and denoiser do not fit each other.
    """
    run, step = None, None
    checkpoint = own_copy(checkpoint)
    if not is_named(checkpoint):
        found = find_checkpoint(Path(checkpoint))
        run, step, checkpoint = run_of_checkpoint(found.path), found.step, found.path
    asked = _asked(regions, images, condition, size)
    if run is not None:
        own = own or run.config()
        config = config or own
    if run is None and dataset is not None:
        asked["dataset"] = f"{dataset.grammar.title}-{hash_of_images(dataset)[:4]}"
    elif run is not None and dataset is None:
        dataset = (config or run.config()).dataset()
    config = config or Config()
    if run is None and config.probe.sample != -1:
        raise _no_samples(checkpoint)
    denoiser = load_denoiser(
        checkpoint,
        config.weights if run is not None else config.sampling.weights,
        device,
        condition=condition,
        size=size,
    )
    source: SymbolImages | ImageSet
    if images is not None:
        source = pictures(denoiser, images)
    elif dataset is not None:
        source = dataset
    else:
        source = own_samples(denoiser, config, as_progress(progress), cache)
    shape = source.image_shape
    if shape != denoiser.image_shape:
        raise UsageError(
            f"the dataset's images are {shape} (C, H, W); the denoiser takes {denoiser.image_shape}"
        )
    class_name = type(getattr(denoiser, "network", denoiser)).__name__
    return subject_of(
        denoiser,
        source,
        config,
        architecture=config.network.name if run else kind_of_network(class_name) or "network",
        log_snr=log_snr,
        regions=parse_regions(regions, shape, denoiser.pixel_scale) if regions else None,
        name=run.path.name if run else Path(str(checkpoint)).name,
        run=run,
        step=step,
        progress=progress,
        own=own,
        asked=asked,
        cache=cache,
    )


def _within_budget(
    configs: list[Config], denoisers: list[Denoiser], images: SymbolImages | ImageSet
) -> list[Config]:
    """Return configurations with as many inputs in a batch as a budget holds, of any denoiser."""
    if memory.budget() is None:
        return configs
    most = configs[0].probe.batch_size
    size = min(inputs_at_once(each, images.image_shape, most, GRAPHS) for each in denoisers)
    return [replace(each, probe=replace(each.probe, batch_size=size)) for each in configs]


def _where_to_look(
    denoiser: Denoiser, images: SymbolImages, settings: ProbeConfig, cache: Path | None
) -> tuple[GrammarWeight, int]:
    """What the grammar is worth at each noise level, and the timestep at which symbols form."""
    keep = Keep(
        cache,
        "grammar",
        {
            "images": hash_of_images(images),
            "schedule": fingerprint(denoiser.schedule.alphas, denoiser.schedule.sigmas),
            "settings": [settings.grammar_levels, settings.grammar_images, settings.seed],
        },
    )
    weight = keep("weight", GrammarWeight, partial(GrammarWeight.of, denoiser, images, settings))
    formed = partial(symbols_form_at, denoiser, images, seed=settings.seed)
    return weight, keep("forms-at", int, formed)


def _no_samples(name: str | Path) -> UsageError:
    return UsageError(f"{name} is not part of a run: it has no stored samples to look into")


def _asked(
    regions: str | None,
    images: Path | None,
    condition: Condition | None,
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """In which ways a denoiser is opened that are no settings: what is asked -> how."""
    condition = condition or Condition()
    given = {
        "regions": regions,
        "pictures": images.name if images is not None else None,
        "prompt": condition.prompt,
        "class": condition.class_label,
        "embeddings": condition.embeddings.name if condition.embeddings is not None else None,
        "guidance": condition.guidance if condition.guidance != 1 else None,
        "size": "x".join(map(str, size)) if size is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _even_level(denoiser: Denoiser) -> int:
    """The level nearest log-SNR 0."""
    return int(denoiser.log_snr(torch.arange(denoiser.timesteps)).abs().argmin())
