"""What is probed, and what it is measured beside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from diffprobe.config import Config
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.cache import Keep, fingerprint
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.probing.identity import hash_of_denoiser, hash_of_images, hash_of_network
from diffprobe.probing.regions import Regions
from diffprobe.sampling.stored import StoredSample
from diffprobe.training.run_folder import RunFolder

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
    progress: Progress = field(default_factory=lambda: silent)
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
