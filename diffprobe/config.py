"""Configuration: frozen dataclasses, read from TOML, environment and `--set`, written as JSON.

Precedence: command line over environment over file over default. Unknown keys are refused with
the nearest valid name. What a section chooses by `name` is a kind; see `foundations.kinds`.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.kinds import Kind, find, names
from diffprobe.foundations.settings import (
    Settings,
    build,
    check_positive,
    chosen,
    overlay,
    resolved,
    several,
    to_settings,
)
from diffprobe.models.noise_settings import NoiseConfig

if TYPE_CHECKING:
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

ENVIRONMENT_PREFIX = "DIFFPROBE_"


@dataclass(frozen=True)
class TrainingConfig:
    """The loop. `steps`, `keep_states` and the five below it may change from call to call.

    At the steps in `keep_states` the optimizer's state is kept, so that another run can branch off.
    """

    batch_size: int = 64
    gradient_clip: float = 1.0
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0
    steps: int = 1600
    keep_states: tuple[int, ...] = ()
    checkpoints: int = 8
    save_every: int = 500
    log_every: int = 50
    validation_size: int = 256
    validation_levels: int = 8

    def __post_init__(self) -> None:
        check_positive(
            **{
                f"training.{name}": getattr(self, name)
                for name in ("batch_size", *HORIZON)
                if name != "keep_states"
            }
        )
        if not 0 <= self.gradient_clip < float("inf"):
            raise UsageError(f"training.gradient_clip must not be negative: {self.gradient_clip}")


# How long a training goes on and how often it is looked at: what changes no step.
HORIZON = (
    "steps",
    "keep_states",
    "checkpoints",
    "save_every",
    "log_every",
    "validation_size",
    "validation_levels",
)


@dataclass(frozen=True)
class SamplingConfig:
    """How many samples, in how many steps of the `sampler`.

    `weights` names an average of the run, or is "raw"; by default the first average, if any.
    """

    steps: int = 50
    n: int = 512
    batch_size: int = 512
    weights: str = ""
    seed: int = 0


@dataclass(frozen=True)
class ProbeConfig:
    """What probes have in common; what is one probe's own is in `probes`, under its name.

    `images` inputs are taken at each of `levels` noise levels, `batch_size` at once. `level` is the
    timestep of the probes that look at one; -1 chooses the one where the grammar is worth most, or
    log-SNR 0 where no grammar is known. What it is worth is told at `grammar_levels` levels by
    `grammar_images` draws. `region` is the one whose `output` is looked into. `baseline_images`
    training images make the Wiener and local-patch denoisers; 0 leaves them out. Along training
    `along_samples` images are drawn from each checkpoint and judged.
    """

    images: int = 128
    levels: int = 15
    level: int = -1
    grammar_images: int = 256
    grammar_levels: int = 41
    region: int = 0
    output: Literal["x0", "epsilon", "score"] = "x0"
    baseline_images: int = 0
    along_samples: int = 256
    batch_size: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    grammar: "GrammarKind" = chosen("grammar", "parity")
    images: "ImagesKind" = chosen("images", "font")
    stream: "StreamKind" = chosen("stream", "fresh")
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
        """Return the same configuration with `seed` for everything random in it."""
        changes: dict[str, Any] = {}
        for section in dataclasses.fields(self):
            value: Any = getattr(self, section.name)
            if dataclasses.is_dataclass(value) and hasattr(value, "seed"):
                changes[section.name] = dataclasses.replace(value, seed=seed)  # type: ignore[type-var]
        return dataclasses.replace(self, **changes)


# Sections that say how a network is trained; the others may change from command to command.
TRAINED = (
    "grammar",
    "images",
    "stream",
    "network",
    "noise",
    "objective",
    "optimizer",
    "learning_rate",
    "averages",
    "training",
)


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Build a configuration from nested settings, with defaults for what they leave out.

    Whoever names averages names all of them: the default ones are for settings without any.

    Raises:
        UsageError: At an unknown section or key, naming the nearest, or a value of a wrong type.
    """
    defaults = to_settings(Config())
    kept = {key: value for key, value in defaults.items() if key not in _SEVERAL & settings.keys()}
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


def resolve(
    *,
    preset: str | None = None,
    file: Path | None = None,
    base: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
) -> Config:
    """Return the configuration of one command.

    Args:
        preset: Name of a shipped TOML file.
        file: A TOML file, laid over the preset.
        base: Settings under everything else, such as those of an existing run.
        environment: Variables; `DIFFPROBE_TRAINING_STEPS=100` sets `training.steps`.
        assignments: `section.key=value` each, over everything else.

    Raises:
        UsageError: If a source is missing, malformed, or names what does not exist.
    """
    layers: list[Mapping[str, Any]] = [base or {}]
    if preset is not None:
        layers.append(read_preset(preset))
    if file is not None:
        layers.append(_read_toml(file))
    layers.append(_from_environment(environment or {}))
    layers += [_parse_assignment(a) for a in assignments]
    settings: Settings = {}
    for layer in layers:
        settings = overlay(settings, layer)
    return resolved(from_settings(settings))


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    folder = files("diffprobe") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name[-5:] == ".toml")


def read_preset(name: str) -> Settings:
    """Return a shipped preset's settings; UsageError with the nearest names if there is none."""
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    return tomllib.loads((files("diffprobe") / "presets" / f"{name}.toml").read_text("utf-8"))


def preset_summary(name: str) -> str:
    """Return the comment on the first line of a preset's file."""
    text = (files("diffprobe") / "presets" / f"{name}.toml").read_text("utf-8")
    return text.splitlines()[0].removeprefix("#").strip()


def _read_toml(path: Path) -> Settings:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no configuration file at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


# Variables that are options of the command line, not settings.
_OPTION_VARIABLES = {"DIFFPROBE_DEVICE", "DIFFPROBE_SEED"}


def _from_environment(environment: Mapping[str, str]) -> Settings:
    # The longest first: learning_rate before a section called learning.
    sections = sorted((f.name for f in dataclasses.fields(Config)), key=len, reverse=True)
    settings: Settings = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OPTION_VARIABLES:
            continue
        rest = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        section = next((s for s in sections if rest.startswith(f"{s}_")), None)
        if section is None:
            valid = [f"{ENVIRONMENT_PREFIX}{s.upper()}_…" for s in sections]
            raise unknown_name("environment variable", variable, [*valid, *_OPTION_VARIABLES])
        key = rest.removeprefix(f"{section}_")
        path = _path_in_several(_SEVERAL[section], key) if section in _SEVERAL else [key]
        settings = overlay(settings, {section: _nested(path, _parse_value(value))})
    return settings


# Section that holds several kinds -> their role.
_SEVERAL = {
    f.name: f.metadata["role"] for f in dataclasses.fields(Config) if f.metadata.get("many")
}


def _path_in_several(role: str, key: str) -> list[str]:
    """Part EMA_DECAY, or HIDDEN_STATES_LEVELS, into the name of a kind and its key."""
    known = sorted(names(role), key=len, reverse=True)
    for name in known:
        if key.startswith(f"{name.replace('-', '_')}_"):
            return [name, key[len(name) + 1 :]]
    return key.split("_", 1)


def _parse_assignment(assignment: str) -> Settings:
    path, equals, value = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys) or (len(keys) == 1 and keys[0] not in _SEVERAL):
        raise UsageError(f"{assignment!r} is not of the form section.key=value")
    return _nested(keys, _parse_value(value.strip()))


def _nested(keys: Sequence[str], value: Any) -> Settings:
    for key in reversed(keys):
        value = {key: value}
    settings: Settings = value
    return settings


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string
