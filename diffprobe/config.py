"""Configuration: frozen dataclasses, everything that determines a run.

What a section chooses by `name` is a kind; see `foundations.kinds`. Where settings come from is
said in `diffprobe.resolution`.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.kinds import Kind, find
from diffprobe.foundations.settings import (
    build,
    check_at_least,
    check_positive,
    check_seed,
    chosen,
    overlay,
    several,
    to_settings,
)
from diffprobe.models.noise_settings import NoiseConfig

if TYPE_CHECKING:
    from diffprobe.datasets.conditions import ConditionKind
    from diffprobe.datasets.grammars import GrammarKind
    from diffprobe.datasets.images import ImagesKind
    from diffprobe.datasets.streams import StreamKind
    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.models.networks import NetworkKind
    from diffprobe.sampling.samplers import SamplerKind
    from diffprobe.training.averages import AverageKind
    from diffprobe.training.learning_rates import LearningRateKind
    from diffprobe.training.objectives import ObjectiveKind
    from diffprobe.training.optimizers import OptimizerKind


@dataclass(frozen=True)
class TrainingConfig:
    """The loop. `steps`, `keep_states` and the seven below it may change from call to call.

    At the steps in `keep_states` the optimizer's state is kept, so that another run can branch off.
    `log_with` names trackers of accelerate's that are told of the training, and every `probe_every`
    steps of its LDR; 0 is never. More than one of `replicas` are as many runs, with seeds from
    `seed` on, computed at once.
    """

    batch_size: int = 64
    gradient_clip: float = 1.0
    mixed_precision: Literal["no", "bf16"] = "no"
    compile: bool = False
    seed: int = 0
    steps: int = 1600
    keep_states: tuple[int, ...] = ()
    checkpoints: int = 8
    save_every: int = 500
    log_every: int = 50
    validation_size: int = 256
    validation_levels: int = 8
    log_with: tuple[str, ...] = ()
    probe_every: int = 0
    replicas: int = 1

    def __post_init__(self) -> None:
        others = ("keep_states", *FOLLOWED)
        names = [name for name in ("batch_size", "replicas", *HORIZON) if name not in others]
        check_positive(**{f"training.{name}": getattr(self, name) for name in names})
        check_at_least(0, "training", probe_every=self.probe_every)
        # Every step has a learning rate in memory, and every checkpoint is a folder.
        check_positive(most=MOST_STEPS, **{"training.steps": self.steps})
        check_positive(most=MOST_CHECKPOINTS, **{"training.checkpoints": self.checkpoints})
        kept = {f"training.keep_states[{i}]": step for i, step in enumerate(self.keep_states)}
        check_positive(most=MOST_STEPS, **kept)
        check_seed(self.seed)
        if not 0 <= self.gradient_clip < float("inf"):
            raise UsageError(f"training.gradient_clip must not be negative: {self.gradient_clip}")
        if self.probe_every and not self.log_with:
            raise UsageError(
                f"training.probe_every={self.probe_every} tells trackers of the LDR, and none is "
                "named: --log-with tensorboard"
            )


MOST_STEPS = 10**8
MOST_CHECKPOINTS = 10_000

# Who is told of a training while it goes on.
FOLLOWED = ("log_with", "probe_every")

# How long a training goes on and how often it is looked at: what changes no step.
HORIZON = (
    "steps",
    "keep_states",
    "checkpoints",
    "save_every",
    "log_every",
    "validation_size",
    "validation_levels",
    *FOLLOWED,
)


@dataclass(frozen=True)
class SamplingConfig:
    """How many samples, in how many steps of the `sampler`.

    `weights` names an average of the run, or is "raw"; by default the first average, if any.
    `guidance` is the weight of the exact posterior: x0_hat + guidance (Bayes - product); on a
    condition it is classifier-free, x0_hat + guidance (x0_hat - x0_hat without a condition). What
    is illegible or ungrammatical is drawn again, `rejection` times at most. `given` says which
    cells stay as they are: words with `_` for each cell that is sampled, or names of sets of such
    that the grammar has, separated by spaces and taken in turn. `condition` is what the network is
    told, conditions separated by spaces and taken in turn; "all" is that of a word of the world.
    """

    steps: int = 50
    n: int = 512
    batch_size: int = 512
    weights: str = ""
    guidance: float = 0.0
    rejection: int = 0
    given: str = ""
    condition: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        names = ("steps", "n", "batch_size")
        check_positive(**{f"sampling.{name}": getattr(self, name) for name in names})
        check_at_least(0, "sampling", guidance=self.guidance, rejection=self.rejection)
        check_seed(self.seed)

    @property
    def plain(self) -> "SamplingConfig":
        """The same without what mends samples, is given or told: a denoiser's own."""
        return dataclasses.replace(self, guidance=0.0, rejection=0, given="", condition="")


@dataclass(frozen=True)
class ProbeConfig:
    """What probes have in common; what is one probe's own is in `probes`, under its name.

    `images` inputs are taken at each of `levels` noise levels, `batch_size` at once; -1 leaves the
    levels to what is known (15, or 8 without a grammar). With a `precision` the images are a first
    block, which tells how many make the standard error of the headline number so small,
    `precision_images` at most. Without one, and without a grammar, a few of the `images` are taken,
    and more where 0.01 needs them; see `probing.precision`. `level` is the timestep of the probes
    that look at one; -1 chooses the one where the grammar is worth most, or log-SNR 0 where no
    grammar is known. What it is worth is told at `grammar_levels` levels by `grammar_images` draws.
    `region` is the one whose `output` is looked into. `baseline_images` training images make the
    Wiener and local-patch denoisers; 0 leaves them out. Along training `along_samples` images are
    drawn from each checkpoint and judged. `sample` is the place of the run's stored sample that is
    looked into, in place of images that are drawn; -1 is none.
    """

    images: int = 128
    levels: int = -1
    precision: float = 0.0
    precision_images: int = 4096
    level: int = -1
    grammar_images: int = 256
    grammar_levels: int = 41
    region: int = 0
    output: Literal["x0", "epsilon", "score"] = "x0"
    baseline_images: int = 0
    along_samples: int = 256
    sample: int = -1
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(0, "probe", precision=self.precision)
        check_at_least(1, "probe", precision_images=self.precision_images)
        names = ("grammar_levels", "along_samples", "batch_size")
        check_positive(**{f"probe.{name}": getattr(self, name) for name in names})
        if self.levels != -1:
            check_positive(**{"probe.levels": self.levels})
        check_at_least(2, "probe", images=self.images, grammar_images=self.grammar_images)
        check_at_least(-1, "probe", level=self.level)
        check_at_least(0, "probe", region=self.region)
        if self.baseline_images == 1 or self.baseline_images < 0:
            raise UsageError(
                "probe.baseline_images must be at least 2 (0 for no baselines), not "
                f"{self.baseline_images}"
            )
        check_seed(self.seed)


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    grammar: "GrammarKind" = chosen("grammar", "parity")
    images: "ImagesKind" = chosen("images", "font")
    stream: "StreamKind" = chosen("stream", "fresh")
    condition: "ConditionKind" = chosen("condition", "none")
    network: "NetworkKind" = chosen("network", "transformer")
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    objective: "ObjectiveKind" = chosen("objective", "denoising")
    optimizer: "OptimizerKind" = chosen("optimizer", "adamw")
    learning_rate: "LearningRateKind" = chosen("learning_rate", "cosine")
    averages: "Mapping[str, AverageKind]" = several("average", "ema")
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampler: "SamplerKind" = chosen("sampler", "ddim")
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    probes: Mapping[str, Kind] = several("probe")

    def __post_init__(self) -> None:
        for name in self.averages:
            if name in RESERVED or not re.fullmatch(r"\w[\w.-]*", name):
                raise UsageError(
                    f"an average cannot be called {name!r}: its name is that of a folder, of "
                    f"letters, digits, '_', '.' and '-', and not {', '.join(RESERVED)}"
                )

    def check(self) -> None:
        """Check what several sections must agree in, as far as can be told without torch.

        Raises:
            UsageError: If they do not.
        """
        rows, columns = self.images.grid
        length = getattr(self.grammar, "length", rows * columns)
        self.images.check(length)
        if self.images.cell is not None:
            height, width = self.images.cell
            self.network.check(rows * height, columns * width)
        if getattr(self.objective, "by_cell", False) and not self.network.levels_by_cell:
            raise UsageError(
                "objective.by_cell draws a noise level for each cell; the network takes one an "
                "image: set network.levels_by_cell = true"
            )

        if self.condition.told and not self.network.conditional:
            raise UsageError(
                f"network {self.network.name!r} takes no condition: set condition.name='none', or "
                "network.name='transformer'"
            )

    def check_own(self) -> None:
        """Check what is asked of a network that this configuration trains, and of no other.

        Raises:
            UsageError: If it has no such weights, noise level or number of levels.
        """
        self.weights  # noqa: B018
        self._check_condition()
        levels = self.noise.timesteps
        if self.sampling.steps > levels:
            raise UsageError(
                f"sampling.steps={self.sampling.steps} exceeds the {levels} noise levels of the "
                "schedule"
            )
        if self.probe.level >= levels:
            raise UsageError(f"noise level t={self.probe.level} is outside 0 … {levels - 1}")

    def _check_condition(self) -> None:
        asked, condition = self.sampling.condition, self.condition
        if asked and not condition.told:
            raise UsageError(
                f"sampling.condition={asked!r}, and this network was trained without conditions "
                "(condition.name = 'none')"
            )
        if self.training.probe_every and condition.told and not condition.drop:
            raise UsageError(
                "training.probe_every looks at the network without a condition, and in training "
                "none is left out (condition.drop = 0)"
            )
        if asked and self.sampling.guidance and not condition.drop:
            raise UsageError(
                f"sampling.guidance={self.sampling.guidance:g} goes by what the network makes of "
                "images without a condition, and in training none was left out "
                "(condition.drop = 0): train with condition.drop=0.1"
            )

    def dataset(self) -> "SymbolImages":
        """Return the world: the images of the grammar's words.

        Raises:
            UsageError: If grammar, glyphs and grid do not fit each other.
        """
        return self.images.build(self.grammar.build())

    @property
    def weights(self) -> str:
        """The weights to sample and probe: those asked for, the first average, or the raw ones.

        Raises:
            UsageError: If the run has no weights of that name.
        """
        names = [*self.averages, "raw"]
        if self.sampling.weights and self.sampling.weights not in names:
            raise unknown_name("value of sampling.weights", self.sampling.weights, names)
        return self.sampling.weights or names[0]

    def probe_settings(self, name: str) -> Kind:
        """Return the settings of the probe called `name`: those given, or its defaults.

        Raises:
            UsageError: If there is no such probe, naming the nearest.
        """
        given = self.probes.get(name)
        return given if given is not None else find("probe", name)()

    def with_probe(self, name: str, **changes: Any) -> "Config":
        """Return the same configuration with other settings of the probe called `name`.

        Raises:
            UsageError: If there is no such probe, or a setting is out of range.
        """
        kind: Any = self.probe_settings(name)
        changed = dataclasses.replace(kind, **changes)
        return dataclasses.replace(self, probes={**self.probes, name: changed})

    def with_seed(self, seed: int) -> "Config":
        """Return the same configuration with `seed` for everything random in it.

        Raises:
            UsageError: If it has more than 64 bits.
        """
        check_seed(seed)
        changes: dict[str, Any] = {}
        for section in dataclasses.fields(self):
            value: Any = getattr(self, section.name)
            if dataclasses.is_dataclass(value) and hasattr(value, "seed"):
                changes[section.name] = dataclasses.replace(value, seed=seed)  # type: ignore[type-var]
        return dataclasses.replace(self, **changes)


# What else a checkpoint's folder holds: no average can have such a name.
RESERVED = ("raw", "unet", "transformer", "scheduler", "vae")

# Sections that say how a network is trained; the others may change from command to command.
TRAINED = (
    "grammar",
    "images",
    "stream",
    "condition",
    "network",
    "noise",
    "objective",
    "optimizer",
    "learning_rate",
    "averages",
    "training",
)


# Section that holds several kinds -> their role.
SEVERAL = {f.name: f.metadata["role"] for f in dataclasses.fields(Config) if f.metadata.get("many")}


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Build a configuration from nested settings, with defaults for what they leave out.

    Whoever names averages names all of them: the default ones are for settings without any.

    Raises:
        UsageError: At an unknown section or key, naming the nearest, or a value of a wrong type.
    """
    defaults = to_settings(Config())
    kept = {
        key: value for key, value in defaults.items() if key not in SEVERAL.keys() & settings.keys()
    }
    return build(Config, overlay(kept, settings))


def to_toml(config: Config) -> str:
    """Return the configuration as a TOML document."""
    return "\n".join(_sections(to_settings(config), "")).lstrip() + "\n"


def _sections(settings: Mapping[str, Any], path: str) -> Iterator[str]:
    below = {key: value for key, value in settings.items() if isinstance(value, Mapping) and value}
    lists = {key: value for key, value in settings.items() if _is_of_tables(value)}
    for key, value in settings.items():
        if key not in below and key not in lists:
            # Numbers, strings, booleans and arrays of them are written alike in JSON and TOML.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in below.items():
        yield f"\n[{path}{key}]"
        yield from _sections(value, f"{path}{key}.")
    for key, tables in lists.items():
        for table in tables:
            yield f"\n[[{path}{key}]]"
            yield from _sections(table, f"{path}{key}.")


def _is_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
