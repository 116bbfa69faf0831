"""One probe measured on one subject: where its parts are kept, and what is written of them."""

from collections.abc import Mapping, MutableMapping
from functools import reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from diffprobe.config import Config
from diffprobe.foundations.settings import to_settings
from diffprobe.probing.cache import Keep
from diffprobe.probing.code import source_of
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.identity import hash_of_checkpoints
from diffprobe.probing.subject import Subject

# What errors are made of, one number an input and level, is in the cache alone.
KEPT_ALONE = ("ratios", "sources")


def keep_of_probe(kind: ProbeKind, subject: Subject, cache: Path) -> Keep:
    """Return what keeps the parts of a probe of a subject."""
    more = {}
    if not kind.along and subject.run is not None:
        more["checkpoints"] = hash_of_checkpoints(subject.run, subject.step or 0)
    return keep_of(kind.name, subject, cache, kind, kind.reads, more=more)


def measured(kind: ProbeKind, subject: Subject, keep: Keep) -> dict[str, Any]:
    """Measure a probe, or find what was measured: part -> result."""
    found = kind.measure(subject, keep)
    return dict(found) if isinstance(found, Mapping) else {"network": found}


def keep_of(
    name: str,
    subject: Subject,
    cache: Path,
    settings: Any,
    reads: tuple[str, ...],
    once: MutableMapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Keep:
    """Return what keeps the parts of something measured of a subject.

    Args:
        name: Of the files.
        subject: Its hashes are part of the key; of a function, which nothing tells from another,
            nothing is kept.
        cache: The folder.
        settings: A dataclass, part of the key.
        reads: Other settings in the key, `section.key` or whole sections of the configuration.
        once: See `Keep`.
        more: Whatever else is part of the key.
    """
    config = subject.config
    kinds = (settings, config.grammar, config.images, config.stream, config.sampler)
    sources = [source_of(type(kind)) for kind in kinds]
    key: dict[str, Any] = {
        "settings": to_settings(settings),
        "sources": sources,
        "reads": settings_at(config, *reads),
        "stream": to_settings(config.stream),
        "oracles": [config.probe.baseline_images, *subject.oracles],
        "level": [subject.level, subject.forms_at],
        **subject.identity,
        **(more or {}),
    }
    known = subject.identity["denoiser"] is not None and None not in sources
    return Keep(cache if known else None, name, key, once)


def settings_at(config: Config, *paths: str) -> dict[str, Any]:
    """Return the settings at `section.key`, or of whole sections, by these paths."""
    everything = to_settings(config)
    # Where no settings of a probe are given its defaults are in force.
    everything["probes"] = {
        name: to_settings(config.probe_settings(name))
        for path in paths
        for section, _, name in [path.partition(".")]
        if section == "probes"
    }
    return {path: reduce(lambda d, k: d[k], path.split("."), everything) for path in paths}


def numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written of results: part -> field -> value, without pictures."""
    return {
        part: {
            key: value
            for key, value in result.__dict__.items()
            if key not in KEPT_ALONE and not (isinstance(value, Tensor) and value.ndim > 3)
        }
        for part, result in results.items()
    }
