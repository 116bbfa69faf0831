"""Settings: nested dictionaries, as a TOML or JSON file holds them, and frozen dataclasses.

A field whose metadata names a `role` holds a kind of that role, chosen by the key `name`; with
`many` it holds a mapping of them, each under a name of its own.
"""

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.kinds import Kind

Settings = dict[str, Any]
ConfigClass = TypeVar("ConfigClass")

MOST = 2**31 - 1  # a number of things beyond this is a slip of the pen


def chosen(role: str, default: str) -> Any:
    """Declare a field that holds a kind of `role`, by default the one called `default`."""
    return dataclasses.field(
        default_factory=lambda: kinds.find(role, default)(), metadata={"role": role}
    )


def several(role: str, *default: str) -> Any:
    """Declare a field that holds any number of kinds of `role` by name, by default `default`."""
    return dataclasses.field(
        default_factory=lambda: {name: kinds.find(role, name)() for name in default},
        metadata={"role": role, "many": True},
    )


def build(cls: type[ConfigClass], settings: Mapping[str, Any], where: str = "") -> ConfigClass:
    """Return the dataclass that settings describe, with defaults for what they leave out.

    Args:
        cls: A dataclass.
        settings: Its fields, nested dataclasses as mappings.
        where: The settings' place, such as `training.`, for messages.

    Raises:
        UsageError: At an unknown key, naming the nearest, or at a value of a wrong type or size.
    """
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls)) if f.init}
    for key in settings:
        if key not in fields:
            raise unknown_name("key", where + str(key), [where + f for f in fields])
    values = {key: _field(cls, fields[key], v, where + key) for key, v in settings.items()}
    try:
        return cls(**values)
    except UsageError as error:
        section = where.rstrip(".")
        # A kind's own checks do not know in which section it stands.
        if section.partition(".")[0] in str(error):
            raise
        raise UsageError(f"{section}: {error}") from error


def build_kind(role: str, value: Any, where: str, default: str | None = None) -> Kind:
    """Return the kind that settings choose by their key `name`.

    Args:
        role: Of the kind.
        value: Its settings, and `name`.
        where: Their place, for messages.
        default: The name where the settings give none.

    Raises:
        UsageError: If there is no such kind, or a setting is wrong.
    """
    section = _section(value, where)
    name = section.get("name", default)
    if name is None:
        raise UsageError(f"{where} needs a name: choose from {', '.join(kinds.names(role))}")
    rest = {key: each for key, each in section.items() if key != "name"}
    if not isinstance(name, str):
        raise UsageError(f"{where}.name must be of type str, not {shown(name)}")
    return build(kinds.find(role, name), rest, where + ".")


def kind(role: str, name: str, **settings: Any) -> Any:
    """Return a kind by its name, with settings as a configuration would give them.

    Raises:
        UsageError: If there is no such kind, naming the nearest, or a setting is wrong.

    >>> kind("grammar", "dyck", length=6, kinds=2)
    DyckConfig(length=6, kinds=2)
    """
    return build_kind(role, {"name": name, **settings}, role)


def to_settings(config: Any) -> Any:
    """Return what `build` turns into `config` again, in terms of TOML and JSON."""
    if isinstance(config, Mapping):
        return {str(key): to_settings(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_settings(value) for value in config]
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    content = {
        f.name: to_settings(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init
    }
    return {"name": config.name, **content} if isinstance(config, Kind) else content


def resolved(config: ConfigClass) -> ConfigClass:
    """Return the same configuration with the files read in that its kinds name."""
    if isinstance(config, Mapping):
        return typing.cast(ConfigClass, {key: resolved(value) for key, value in config.items()})
    if isinstance(config, tuple):
        return typing.cast(ConfigClass, tuple(resolved(value) for value in config))
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    changes = {f.name: resolved(getattr(config, f.name)) for f in dataclasses.fields(config)}
    same: Any = dataclasses.replace(typing.cast(Any, config), **changes)
    return typing.cast(ConfigClass, same.resolved() if isinstance(same, Kind) else same)


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> Settings:
    """Lay settings over others, section by section.

    Another kind, told by its `name`, does not inherit the former one's keys; an empty section
    takes away what is under it.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and value:
            renamed = "name" in value and value["name"] != below.get("name", value["name"])
            merged[key] = dict(value) if renamed else overlay(below, value)
        else:
            merged[key] = value
    return merged


def differences(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    """Return `key: ours, not theirs` for each setting in which two configurations differ."""
    found = []
    mine, other = dict(leaves(ours, prefix)), dict(leaves(theirs, prefix))
    for key in sorted(mine.keys() | other.keys()):
        a, b = (repr(side[key]) if key in side else "absent" for side in (mine, other))
        if a != b:
            # A file that a setting holds may be long.
            a, b = (text if len(text) <= 80 else f"{text[:77]}…" for text in (a, b))
            found.append(f"{key}: {a}, not {b}")
    return found


def check_positive(most: int = MOST, **numbers: int) -> None:
    """Raise UsageError unless each is a positive integer, and at most `most`.

    >>> check_positive(length=0)
    Traceback (most recent call last):
    ...
    diffprobe.foundations.errors.UsageError: length must be a positive integer, not 0
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} must be a positive integer, not {value!r}")
        if value > most:
            raise UsageError(f"{name} must be at most {most:,}, not {value:,}")


def check_seed(seed: int) -> None:
    """Raise UsageError unless a seed is an integer of 64 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise UsageError(f"a seed must be an integer from -2^63 to 2^63 - 1, not {seed!r}")


def check_at_least(least: float, where: str, **numbers: float) -> None:
    """Raise UsageError unless each is a number of at least `least`.

    >>> check_at_least(2, "probes.locality", images=1)
    Traceback (most recent call last):
    ...
    diffprobe.foundations.errors.UsageError: probes.locality.images must be at least 2, not 1
    """
    for name, value in numbers.items():
        if not least <= value < float("inf"):
            raise UsageError(f"{where}.{name} must be at least {least:g}, not {value!r}")
        if isinstance(value, int) and value > MOST:
            raise UsageError(f"{where}.{name} must be at most {MOST:,}, not {value:,}")


def check_share(**numbers: float) -> None:
    """Raise UsageError unless each lies in [0, 1]."""
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie in [0, 1], not {value!r}")


def shown(value: Any) -> str:
    """Return what a value looks like in a message, cut where it is long."""
    # Of an integer by its size: Python spells none of more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 256:
        return f"one of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def with_text(kind: Any, key: str) -> str:
    """Return the text of a kind's setting `key`, or of the file that its setting `file` names.

    Raises:
        UsageError: If both are given, or the file cannot be read.
    """
    text, file = str(getattr(kind, key)), str(kind.file)
    if not file:
        return text
    if text:
        raise UsageError(f"give {kind.role}.file or {kind.role}.{key}, not both")
    try:
        return Path(file).read_text("utf-8")
    except (OSError, ValueError) as error:  # not there, or not of text in UTF-8
        raise UsageError(f"cannot read {kind.role}.file={file}: {error}") from error


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each setting, section by section.

    >>> list(leaves({"probe": {"region": 2, "seed": 0}}))
    [('probe.region', 2), ('probe.seed', 0)]
    """
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@functools.cache
def settings_types(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name; of kinds their metadata tell."""
    found: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        if "role" not in f.metadata:
            module = vars(sys.modules[cls.__module__])
            found[f.name] = eval(f.type, module) if isinstance(f.type, str) else f.type
    return found


def _field(cls: Any, field: Any, value: Any, where: str) -> Any:
    role = field.metadata.get("role")
    if role is None:
        return _convert(settings_types(cls)[field.name], value, where)
    if field.metadata.get("many"):
        return {
            str(key): build_kind(role, each, f"{where}.{key}", default=str(key))
            for key, each in _section(value, where).items()
        }
    return build_kind(role, value, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), _section(value, where), where + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:  # what need not be given
        (given,) = (each for each in arguments if each is not type(None))
        return None if value is None else _convert(given, value, where)
    if origin is dict:
        section = _section(value, where)
        return {k: _convert(arguments[1], v, f"{where}.{k!r}") for k, v in section.items()}
    if origin is Literal:
        if value not in arguments:
            raise unknown_name(f"value of {where}", shown(value).strip("'"), map(str, arguments))
        return value
    if origin is list:
        return list(_convert_tuple((*arguments, ...), value, where))
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise UsageError(f"{where} must be an integer of 64 bits, not {shown(value)}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # `--set images.symbols=01` reads as a number
    if type(value) is not hint:
        raise UsageError(f"{where} must be of type {hint.__name__}, not {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} must be a finite number, not {value}")
    if isinstance(value, str) and "\0" in value:
        raise UsageError(f"{where} must not hold a NUL character: {value!r}")
    return value


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} must be a list, not {shown(value)}")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    elif len(value) != len(arguments):
        raise UsageError(f"{where} must have {len(arguments)} entries, not {len(value)}")
    return tuple(
        _convert(a, v, f"{where}[{i}]" if dataclasses.is_dataclass(a) else where)
        for i, (a, v) in enumerate(zip(arguments, value, strict=True))
    )


def _section(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a section of keys, not {shown(value)}")
    return value
