"""Configuration: frozen dataclasses, read from TOML, environment and `--set`, written as JSON.

Precedence: command line over environment over file over default. Unknown keys are refused with
the nearest valid name.
"""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from diffprobe.foundations.errors import UsageError, unknown_name

ENVIRONMENT_PREFIX = "DIFFPROBE_"


# ---- grammar -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParityConfig:
    """Words of two symbols with an even number of the second."""

    name: Literal["parity"] = "parity"
    length: int = 6


@dataclass(frozen=True)
class ModularSumConfig:
    """Digits whose sum is 0 modulo `modulus`."""

    name: Literal["modular-sum"] = "modular-sum"
    length: int = 4
    base: int = 10
    modulus: int = 10


@dataclass(frozen=True)
class DigitSumConfig:
    """Four digits with a + b = c + d."""

    name: Literal["digit-sum"] = "digit-sum"


@dataclass(frozen=True)
class CopyConfig:
    """Words whose second half repeats the first."""

    name: Literal["copy"] = "copy"
    length: int = 6
    symbols: int = 2


@dataclass(frozen=True)
class PalindromeConfig:
    """Words that read the same from either end."""

    name: Literal["palindrome"] = "palindrome"
    length: int = 6
    symbols: int = 2


@dataclass(frozen=True)
class DyckConfig:
    """Balanced brackets of `kinds` kinds: () [] {} <>."""

    name: Literal["dyck"] = "dyck"
    length: int = 8
    kinds: int = 1


@dataclass(frozen=True)
class WordListConfig:
    """The words listed in `words`, one a line, one character of `symbols` a cell.

    After a tab a line may hold the word's weight, by default 1.

    Give `file` instead, and its text is stored in `words`.
    """

    name: Literal["word-list"] = "word-list"
    words: str = ""
    file: str = ""
    symbols: str = ""


@dataclass(frozen=True)
class AutomatonConfig:
    """A finite automaton: `transitions[state][symbol]` is the next state, -1 where a word dies.

    `weights`, of the same shape, make words likely in proportion to the product along their path.
    """

    name: Literal["automaton"] = "automaton"
    transitions: tuple[tuple[int, ...], ...] = ()
    accept: tuple[int, ...] = (0,)
    length: int = 6
    start: int = 0
    weights: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class ContextFreeConfig:
    """Context-free rules over the terminals `symbols`, one character each; see docs/grammars.md.

    Give `file` instead of `rules`, and its text is stored in `rules`.
    """

    name: Literal["context-free"] = "context-free"
    rules: str = ""
    file: str = ""
    length: int = 6
    symbols: str = ""


GrammarConfig = (
    ParityConfig
    | ModularSumConfig
    | DigitSumConfig
    | CopyConfig
    | PalindromeConfig
    | DyckConfig
    | WordListConfig
    | AutomatonConfig
    | ContextFreeConfig
)


# ---- images --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FontImagesConfig:
    """Symbols drawn in a font; `symbols` holds one character each, `cell` is height, width."""

    name: Literal["font"] = "font"
    symbols: str = "01"
    grid: tuple[int, int] = (1, 6)
    cell: tuple[int, int] = (8, 8)
    variants: int = 1
    font: str = ""


@dataclass(frozen=True)
class DigitImagesConfig:
    """Handwritten digits, 8×8 pixels each."""

    name: Literal["digits"] = "digits"
    grid: tuple[int, int] = (2, 2)
    split: Literal["train", "held-out"] = "train"


@dataclass(frozen=True)
class PixelImagesConfig:
    """One pixel a cell, -1 or +1: the hypercube."""

    name: Literal["pixels"] = "pixels"
    grid: tuple[int, int] = (1, 8)


ImagesConfig = FontImagesConfig | DigitImagesConfig | PixelImagesConfig


# ---- model ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MLPConfig:
    """The two-layer ReLU network of the paper."""

    name: Literal["mlp"] = "mlp"
    width: int = 1024
    time_width: int = 64


@dataclass(frozen=True)
class ResidualMLPConfig:
    """A deeper MLP of residual blocks conditioned on time."""

    name: Literal["residual-mlp"] = "residual-mlp"
    width: int = 256
    depth: int = 4


@dataclass(frozen=True)
class UNetConfig:
    """diffusers' UNet2DModel; `attention` tells for each level whether it attends."""

    name: Literal["unet"] = "unet"
    channels: tuple[int, ...] = (32, 64, 64)
    layers_per_block: int = 2
    attention: tuple[bool, ...] = (False, False, True)
    norm_groups: int = 8


@dataclass(frozen=True)
class TransformerConfig:
    """adaLN-zero transformer over patches of `patch` pixels (height, width)."""

    name: Literal["transformer"] = "transformer"
    patch: tuple[int, int] = (8, 8)
    width: int = 128
    depth: int = 4
    heads: int = 4


ModelConfig = MLPConfig | ResidualMLPConfig | UNetConfig | TransformerConfig


# ---- the rest ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataConfig:
    """`training_words` distinct words to train on; 0 draws fresh ones for ever."""

    training_words: int = 0
    seed: int = 0


@dataclass(frozen=True)
class NoiseConfig:
    """The forward process, as in diffusers' DDPMScheduler."""

    timesteps: int = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"


@dataclass(frozen=True)
class TrainingConfig:
    """The loop; `learning_rate` is the peak of diffusers' schedule `lr_schedule`."""

    steps: int = 1600
    batch_size: int = 64
    learning_rate: float = 1e-3
    lr_schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "cosine"
    warmup_steps: int = 50
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    checkpoints: int = 8
    save_every: int = 500
    log_every: int = 50
    validation_size: int = 256
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0


@dataclass(frozen=True)
class SamplingConfig:
    """`sampler` is ddpm, ddim, dpm-solver++, euler or the name of a diffusers scheduler class."""

    sampler: str = "ddim"
    steps: int = 50
    eta: float = 0.0
    n: int = 512
    batch_size: int = 512
    weights: Literal["ema", "raw"] = "ema"
    seed: int = 0


@dataclass(frozen=True)
class ProbeConfig:
    """How much to measure: `images` inputs at each of `levels` noise levels.

    `projections` Rademacher vectors a region estimate the Jacobian of the `output`; 0 computes it
    exactly. With a `precision`, as many inputs are added as make the standard error of LDR and
    excess that small, up to `precision_images`. `level` is the timestep of the probes that look at
    one; -1 chooses the one where the grammar is worth most, or log-SNR 0 where no grammar is known.
    `baseline_images` training images make the Wiener and local-patch denoisers; 0 leaves them out.
    Attribution replaces cells by those of `attribution_baseline`; `attribution_output` "contrast"
    is the projection on the difference of a cell's two likeliest glyphs instead of a plain sum. Its
    true effects are a mean over `attribution_redraws` of each cell; infidelity and sensitivity-max
    are measured for the first `attribution_metric_images`, 0 for neither.
    `placement_placebos` other sets of words are what the training set is compared with.
    `detector_window` is the part of the sampling path (0 noise, 1 image) whose variance is taken.
    `two_layer_draws` of the noise for each word make the population loss; `hidden_layers` are named
    as PyTorch names modules (`:in` behind it: what the module is given), and the network's blocks
    by default; of `hidden_images` and of `hidden_samples` half are for testing, and
    `hidden_controls` untrained networks and random labellings are what layers are judged against.
    """

    images: int = 128
    levels: int = 15
    projections: int = 2
    precision: float = 0.0
    precision_images: int = 4096
    variant: Literal["squared", "frobenius", "l1"] = "squared"
    output: Literal["x0", "epsilon", "score"] = "x0"
    level: int = -1
    region: int = 0
    batch_size: int = 128
    attribution_images: int = 64
    attribution_methods: tuple[str, ...] = (
        "saliency",
        "input-x-gradient",
        "integrated-gradients-zeros",
        "integrated-gradients-prior-mean",
        "integrated-gradients-noisy-image",
        "occlusion",
        "feature-ablation",
        "shapley",
    )
    attribution_output: Literal["sum", "contrast"] = "sum"
    attribution_baseline: Literal["zeros", "prior-mean", "noisy-image"] = "noisy-image"
    attribution_steps: int = 64
    attribution_shapley_samples: int = 64
    attribution_redraws: int = 64
    attribution_metric_images: int = 12
    dynamics_samples: int = 256
    placement_images: int = 256
    placement_levels: int = 41
    placement_placebos: int = 8
    baseline_images: int = 0
    spectrum_images: int = 32
    spectrum_values: int = 8
    spectrum_iterations: int = 8
    spectrum_projections: int = 16
    intervention_images: int = 256
    detector_samples: int = 1000
    detector_window: tuple[float, float] = (0.8, 1.0)
    detector_projections: int = 8
    detector_renoisings: int = 8
    two_layer_levels: int = 3
    two_layer_draws: int = 128
    two_layer_threshold: float = 0.95
    two_layer_tolerance: float = 0.1
    hidden_layers: tuple[str, ...] = ()
    hidden_levels: int = 7
    hidden_images: int = 4096
    hidden_samples: int = 1024
    hidden_features: int = 1024
    hidden_controls: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    grammar: GrammarConfig = field(default_factory=ParityConfig)
    images: ImagesConfig = field(default_factory=FontImagesConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=TransformerConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)


Settings = dict[str, Any]  # what a TOML file holds: section -> key -> value
ConfigClass = TypeVar("ConfigClass")


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Build a configuration from nested settings, with defaults for what they leave out.

    Raises:
        UsageError: At an unknown section or key, naming the nearest, or a value of a wrong type.
    """
    return _build(Config, _overlay(to_settings(Config()), settings), "")


def to_settings(config: Any) -> Settings:
    """Return the nested settings that `from_settings` turns into `config` again."""
    plain: Settings = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def to_toml(config: Config) -> str:
    """Return the configuration as a TOML document."""
    lines = []
    for section, values in to_settings(config).items():
        lines.append(f"[{section}]")
        # Numbers, strings, booleans and arrays of them are written alike in JSON and TOML.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)


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
        settings = _overlay(settings, layer)
    return _with_files(from_settings(settings))


def _with_files(config: Config) -> Config:
    """Put the text of a grammar's file in its place, so that a run does not depend on the file."""
    grammar = config.grammar
    if not isinstance(grammar, WordListConfig | ContextFreeConfig) or not grammar.file:
        return config
    try:
        text = Path(grammar.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read grammar.file={grammar.file}: {error}") from error
    key = "words" if isinstance(grammar, WordListConfig) else "rules"
    if getattr(grammar, key):
        raise UsageError(f"give grammar.file or grammar.{key}, not both")
    changes: dict[str, Any] = {key: text, "file": ""}
    return dataclasses.replace(config, grammar=dataclasses.replace(grammar, **changes))


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


def differences(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    """Return `key: ours, not theirs` for each setting in which two configurations differ."""
    found = []
    mine, other = dict(_leaves(ours, prefix)), dict(_leaves(theirs, prefix))
    for key in sorted(mine.keys() | other.keys()):
        a, b = (repr(side[key]) if key in side else "absent" for side in (mine, other))
        if a != b:
            found.append(f"{key}: {a}, not {b}")
    return found


def _leaves(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> Settings:
    merged = dict(under)
    for section, values in over.items():
        below = merged.get(section)
        if isinstance(values, Mapping) and isinstance(below, Mapping):
            # Another kind of grammar, images or model does not inherit the former one's keys.
            renamed = "name" in values and values["name"] != below.get("name", values["name"])
            merged[section] = dict(values) if renamed else {**below, **values}
        else:
            merged[section] = values
    return merged


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
    sections = [f.name for f in dataclasses.fields(Config)]
    settings: Settings = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OPTION_VARIABLES:
            continue
        section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if section not in sections:
            valid = [f"{ENVIRONMENT_PREFIX}{s.upper()}_…" for s in sections]
            raise unknown_name("environment variable", variable, [*valid, *_OPTION_VARIABLES])
        settings.setdefault(section, {})[key] = _parse_value(value)
    return settings


def _parse_assignment(assignment: str) -> Settings:
    path, equals, value = assignment.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not section or not key:
        raise UsageError(f"{assignment!r} is not of the form section.key=value")
    return {section: {key: _parse_value(value.strip())}}


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _build(cls: type[ConfigClass], settings: Mapping[str, Any], where: str) -> ConfigClass:
    hints = typing.get_type_hints(cls)
    for key in settings:
        if key not in hints:
            raise unknown_name("key", where + key, [where + h for h in hints])
    values = {k: _convert(hints[k], v, where + k) for k, v in settings.items()}
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        return _build_member(typing.get_args(hint), value, where)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), _section(value, where), where + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise unknown_name(f"value of {where}", str(value), map(str, arguments))
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # `--set images.symbols=01` reads as a number
    if type(value) is not hint:
        raise UsageError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} must be a list, not {value!r}")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    elif len(value) != len(arguments):
        raise UsageError(f"{where} must have {len(arguments)} entries, not {len(value)}")
    return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))


def _build_member(members: Sequence[type], value: Any, where: str) -> Any:
    """Build the member of a union that the key `name` chooses."""
    section = _section(value, where)
    by_name = {typing.get_args(typing.get_type_hints(m)["name"])[0]: m for m in members}
    if (name := section.get("name")) not in by_name:
        raise unknown_name(f"{where}.name", str(name), by_name)
    return _build(by_name[name], section, where + ".")


def _section(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a section of keys, not {value!r}")
    return value
