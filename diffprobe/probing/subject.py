"""What is probed, and what it is measured beside."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from diffprobe.config import Config
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.datasets.batches import as_batch
from diffprobe.datasets.image_set import read_images
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.progress import Progress, as_progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.checkpoint import find_checkpoint, kind_of_network, load_denoiser
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.foreign import Condition
from diffprobe.models.oracles import (
    BayesDenoiser,
    LocalPatchDenoiser,
    ProductDenoiser,
    WienerDenoiser,
    image_baselines,
    training_oracle,
)
from diffprobe.probing.cache import Keep, fingerprint
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.probing.noise_levels import check_level, nearest_level, symbols_form_at
from diffprobe.probing.regions import Regions, default_regions, parse_regions
from diffprobe.sampling import sample
from diffprobe.sampling.stored import StoredSample, stored_sample
from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

BASELINE_IMAGES = 256  # that the baselines of a set of images are made of, if not said
LARGEST_COVARIANCE = 4096  # numbers in an image; a covariance of 128 MiB in float64


@dataclass(frozen=True, repr=False)
class Subject:
    """A denoiser, where its inputs come from, and the oracles on the same inputs.

    Attributes:
        denoiser: The network.
        architecture: Its colour and label in figures: the name of its kind, or "network".
        images: Where clean images come from: a grammar's, or a set without one.
        regions: R regions of the image.
        oracles: "bayes", "product", "empirical", "wiener", "local-patch": those that are known.
        config: Settings of the probes and the sampler.
        level: The timestep of the probes that look at one noise level.
        forms_at: The timestep at which symbols form; None without a dataset.
        weight: What the grammar is worth at each noise level; None without a dataset.
        name: What the denoiser is called in messages.
        run: The run folder it comes from, if any.
        step: Training step of the checkpoint, if known.
        sample: The stored sample that is looked into, where one is asked for.
        progress: Called as tqdm is.
    """

    denoiser: Denoiser
    architecture: str
    images: SymbolImages | ImageSet
    regions: Regions
    oracles: dict[str, Denoiser]
    config: Config
    level: int
    forms_at: int | None = None
    weight: GrammarWeight | None = None
    name: str = "network"
    run: RunFolder | None = None
    step: int | None = None
    sample: StoredSample | None = None
    progress: Progress = silent

    def __repr__(self) -> str:
        beside = ", ".join(self.oracles) or "no oracle"
        step = "" if self.step is None else f" at step {self.step:,}"
        return f"<Subject {self.name}{step}, {self.architecture}, beside {beside}: {self.source}>"

    @property
    def dataset(self) -> SymbolImages | None:
        """The dataset, where a grammar is known."""
        return self.images if isinstance(self.images, SymbolImages) else None

    @property
    def source(self) -> str:
        """Where the inputs come from, in words."""
        if isinstance(self.images, ImageSet):
            return self.images.source
        grammar = self.images.grammar
        return f"words of {grammar.title}, {grammar.length} cells"

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """Hashes that tell the denoiser, its inputs and the regions from others.

        Taken once: a large network's takes seconds. None for a function, which nothing tells from
        another.
        """
        weighted = next(self.denoiser.parameters(), None) is not None
        drawn = self.images.draw_images(64, generator(0, "fingerprint"))
        return {
            "denoiser": fingerprint(self.denoiser) if weighted else None,
            "inputs": fingerprint(drawn, self.source),
            "regions": fingerprint(self.regions.masks),
            "sample": None if self.sample is None else fingerprint(self.sample.x_t),
        }

    def measure_each(
        self,
        keep: Keep,
        cls: type[Result],
        measure: Callable[..., Result],
        settings: Kind,
        *oracles: str,
        **options: Any,
    ) -> dict[str, Result]:
        """Measure the network and the named oracles at the subject's level, each through `keep`.

        Args:
            keep: Stores the parts, or finds them.
            cls: What `measure` returns.
            measure: Of denoiser, images, the probe's settings and the common ones.
            settings: The probe's.
            oracles: Names; those that are not known are left out.
            options: More for `measure`.
        """
        return {
            name: keep(
                name,
                cls,
                partial(
                    measure,
                    denoiser,
                    self.images,
                    settings,
                    self.config.probe,
                    t=self.level,
                    progress=self.progress,
                    **options,
                ),
            )
            for name, denoiser in self.beside(*oracles).items()
        }

    def beside(self, *oracles: str) -> dict[str, Denoiser]:
        """Return the network and those of the named oracles that are known, network first."""
        known = {name: self.oracles[name] for name in oracles if name in self.oracles}
        return {"network": self.denoiser, **known}


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

    Raises:
        UsageError: If the images have another shape than the regions, or the level is outside the
            schedule.
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
        for who, oracle in _oracles(denoiser, images, config).items()
    }
    weight = forms_at = None
    if isinstance(images, SymbolImages):
        weight = GrammarWeight.of(denoiser, images, config.probe)
        forms_at = symbols_form_at(denoiser, images, seed=config.probe.seed)
    if log_snr is not None:
        level = nearest_level(denoiser, log_snr)
        config = replace(config, probe=replace(config.probe, level=level))
    level = config.probe.level
    if level == -1:
        level = _even_level(denoiser) if weight is None else weight.most
    check_level(denoiser, level)
    asked = None
    if config.probe.sample != -1:
        if run is None:
            raise _no_samples(name)
        asked = stored_sample(
            run, step, config.weights, config.probe.sample, denoiser, level, config.probe.seed
        )
        level = asked.t
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
        sample=asked,
        progress=as_progress(progress),
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
) -> Subject:
    """Load anybody's denoiser and put it beside every oracle that can be known.

    Args:
        checkpoint: A run folder, a checkpoint in one, a diffusers folder, or `hub:owner/name`.
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

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
        UsageError: If images, regions and denoiser do not fit each other.
    """
    run, step = None, None
    if not str(checkpoint).startswith("hub:"):
        found = find_checkpoint(Path(checkpoint))
        run, step, checkpoint = run_of_checkpoint(found.path), found.step, found.path
    if run is not None:
        config = config or run.config()
        dataset = dataset or config.dataset()
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
        source = _pictures(denoiser, images)
    elif dataset is not None:
        source = dataset
    else:
        source = _own_samples(denoiser, config, as_progress(progress))
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
    )


def _no_samples(name: str | Path) -> UsageError:
    return UsageError(f"{name} is not part of a run: it has no stored samples to look into")


def _pictures(denoiser: Denoiser, folder: Path) -> ImageSet:
    channels, height, width = denoiser.image_shape
    if denoiser.space == "latents":
        channels = 3
        height, width = height * denoiser.pixel_scale, width * denoiser.pixel_scale
    with torch.no_grad():
        images = denoiser.encode(read_images(folder, (channels, height, width)))
    return ImageSet(images.cpu(), f"pictures of {folder.name}")


def _own_samples(denoiser: Denoiser, config: Config, progress: Progress) -> ImageSet:
    sampling = replace(config.sampling, n=config.probe.images)
    made = sample(denoiser, denoiser.image_shape, config.sampler, sampling, progress).images
    return ImageSet(made, f"its own samples ({config.sampler.title}, {sampling.steps} steps)")


def _oracles(
    denoiser: Denoiser, images: SymbolImages | ImageSet, config: Config
) -> dict[str, Denoiser]:
    scheduler, wanted = denoiser.scheduler, config.probe.baseline_images
    if not isinstance(images, SymbolImages):
        return _image_baselines(images, scheduler, wanted or BASELINE_IMAGES)
    found: dict[str, Denoiser] = {
        "bayes": BayesDenoiser(images, scheduler),
        "product": ProductDenoiser(images, scheduler),
    }
    stream = config.stream.build(images.grammar)
    if stream.plain:
        # Where training draws all valid words for ever, the optimum of the training set is Bayes.
        found["empirical"] = training_oracle(images, scheduler, stream) or found["bayes"]
    if wanted:
        found |= image_baselines(images, scheduler, stream, wanted, config.probe.seed)
    return found


def _image_baselines(images: ImageSet, scheduler: Any, n: int) -> dict[str, Denoiser]:
    """What can be computed from images alone; the Wiener denoiser where its covariance fits."""
    chosen = images.images[:n]
    _, height, width = images.image_shape
    patch = max(height, width) // 8 * 2 + 1  # a quarter of the image, as a block of 4×4 is
    found: dict[str, Denoiser] = {"local-patch": LocalPatchDenoiser(chosen, scheduler, patch)}
    if len(chosen) < 2:
        return found
    if (pixels := chosen[0].numel()) <= LARGEST_COVARIANCE:
        return {"wiener": WienerDenoiser(chosen, scheduler), **found}
    logger.warning(
        "images of %d values are too large for the Wiener baseline (at most %d)",
        pixels,
        LARGEST_COVARIANCE,
    )
    return found


def _even_level(denoiser: Denoiser) -> int:
    """The level nearest log-SNR 0."""
    return int(denoiser.log_snr(torch.arange(denoiser.timesteps)).abs().argmin())
