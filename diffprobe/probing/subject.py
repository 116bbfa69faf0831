"""What is probed, and what it is measured beside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from diffprobe.config import Config
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.datasets.batches import as_batch
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.progress import Progress, as_progress, silent
from diffprobe.models.checkpoint import kind_of_network, load_denoiser
from diffprobe.models.checkpoint_folder import find_checkpoint
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.foreign import Condition
from diffprobe.probing.cache import Keep, fingerprint
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.probing.identity import hash_of_denoiser, hash_of_images, hash_of_network
from diffprobe.probing.inputs import own_samples, pictures
from diffprobe.probing.noise_levels import check_level, nearest_level, symbols_form_at
from diffprobe.probing.optima import known_oracles
from diffprobe.probing.regions import Regions, default_regions, parse_regions
from diffprobe.sampling.stored import StoredSample, stored_sample
from diffprobe.training.run_folder import RunFolder, run_of_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")


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
        own: Settings that results are called after where `config` differs from them.
        asked: Other ways in which it was opened than its own: what is asked -> how.
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
    own: Config = field(default_factory=Config)
    asked: Mapping[str, Any] = field(default_factory=dict)

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
        network = hash_of_network(self.denoiser)
        return {
            "network": network,
            "denoiser": hash_of_denoiser(self.denoiser, network),
            "inputs": hash_of_images(self.images),
            "regions": fingerprint(self.regions.masks, *self.regions.names),
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
    weight = forms_at = None
    if isinstance(images, SymbolImages):
        keep = Keep(
            cache,
            "grammar",
            {
                "images": hash_of_images(images),
                "schedule": fingerprint(denoiser.schedule.alphas, denoiser.schedule.sigmas),
                "settings": [
                    config.probe.grammar_levels,
                    config.probe.grammar_images,
                    config.probe.seed,
                ],
            },
        )
        weight = keep(
            "weight", GrammarWeight, partial(GrammarWeight.of, denoiser, images, config.probe)
        )
        forms_at = keep(
            "forms-at", int, partial(symbols_form_at, denoiser, images, seed=config.probe.seed)
        )
    if log_snr is not None:
        level = nearest_level(denoiser, log_snr)
        config = replace(config, probe=replace(config.probe, level=level))
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
        own=own or config,
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
        own: Settings that results are called after where `config` differs from them; by default
            the run's, or `config` where there is no run.
        cache: Where the inputs that a denoiser made itself are kept, and what the grammar is worth;
            None keeps nothing.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
        UsageError: If images, regions and denoiser do not fit each other.
    """
    run, step = None, None
    if not str(checkpoint).startswith("hub:"):
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
