"""Where a configuration comes from: presets, TOML files, environment, and `--set`.

Precedence: command line over environment over file over preset over default. Unknown keys are
refused with the nearest valid name.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffprobe.config import SEVERAL, Config, from_settings
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.kinds import ROOMS, find, names
from diffprobe.foundations.settings import Settings, overlay, resolved, shown

ENVIRONMENT_PREFIX = "DIFFPROBE_"


def resolve(
    *,
    preset: str | None = None,
    file: Path | None = None,
    base: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Return the configuration of one command.

    Args:
        preset: Name of a shipped TOML file.
        file: A TOML file, laid over the preset.
        base: Settings under everything else, such as those of an existing run.
        environment: Variables; `DIFFPROBE_TRAINING_STEPS=100` sets `training.steps`.
        assignments: `section.key=value` each, over everything before.
        flags: `section.key` -> value, over everything else; None leaves a setting alone.

    Raises:
        UsageError: If a source is missing, malformed, or names what does not exist; or if a value
            is out of range, or sections do not fit each other.
    """
    layers: list[Mapping[str, Any]] = [base or {}]
    if preset is not None:
        layers.append(read_preset(preset))
    if file is not None:
        layers.append(read_toml(file))
    layers.append(_from_environment(environment or {}))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    flagged = {key: nested(key.split("."), value) for key, value in given.items()}
    # A kind that a flag names comes first, too: assignments are then settings of that kind.
    layers += [setting for key, setting in flagged.items() if key.endswith(".name")]
    layers += [_parse_assignment(a) for a in assignments]
    layers += flagged.values()
    settings: Settings = {}
    for layer in layers:
        settings = overlay(_fitting(settings, layer), layer)
    config = resolved(from_settings(settings))
    config.check()
    return config


def _fitting(under: Settings, over: Mapping[str, Any]) -> Settings:
    """Leave out of sections without a name, which are the default kind's, what another one lacks.

    A preset's `learning_rate.peak` stays for `learning_rate.name=wsd`, and not for `csv`.
    """
    kept = dict(under)
    for role, section in over.items():
        below = under.get(role)
        name = section.get("name") if isinstance(section, Mapping) else None
        if role in ROOMS and isinstance(name, str) and isinstance(below, Mapping):
            if "name" in below:
                continue
            known = {f.name for f in dataclasses.fields(typing.cast(Any, find(role, name)))}
            kept[role] = {key: value for key, value in below.items() if key in known}
    return kept


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


def read_toml(path: Path) -> Settings:
    """Return the settings of a TOML file.

    Raises:
        UsageError: If it is not there, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no configuration file at {path}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is not valid TOML: it is nested too deeply") from error
    except ValueError as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


DEEPEST = 16  # keys to a setting; none lies half as deep

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
        path = _path_in_several(SEVERAL[section], key) if section in SEVERAL else [key]
        settings = overlay(settings, {section: nested(path, _parse_value(value))})
    return settings


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
    known = all(keys) and len(keys) <= DEEPEST and (len(keys) > 1 or keys[0] in SEVERAL)
    if not equals or not known:
        raise UsageError(f"{shown(assignment)} is not of the form section.key=value")
    return nested(keys, _parse_value(value.strip()))


def plain_assignment(assignment: str) -> tuple[str, Any]:
    """Return the key, in no section, and the value of `key=value`.

    Raises:
        UsageError: If it is nothing of the kind.
    """
    key, equals, value = assignment.partition("=")
    if not (equals and key.strip()):
        raise UsageError(f"{shown(assignment)} is not of the form key=value")
    return key.strip(), _parse_value(value.strip())


def nested(keys: Sequence[str], value: Any) -> Settings:
    """Return settings in which `value` stands at a path of keys."""
    for key in reversed(keys):
        value = {key: value}
    settings: Settings = value
    return settings


def _parse_value(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except RecursionError as error:
        raise UsageError(f"{shown(text)} is nested too deeply") from error
    except ValueError:
        return text  # a bare word is a string
    # More than a value, where the text holds a line break.
    return found["value"] if len(found) == 1 else text
