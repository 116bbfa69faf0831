"""One probe measured on one subject: where its parts are kept, and what is written of them."""

from collections.abc import Mapping, MutableMapping
from functools import reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from diffprobe.foundations.settings import to_settings
from diffprobe.probing.cache import Keep
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.subject import Subject

# What errors are made of, one number an input and level, is in the cache alone.
KEPT_ALONE = ("ratios", "sources")


def measured(kind: ProbeKind, subject: Subject, cache: Path) -> dict[str, Any]:
    """Measure a probe, or find what was measured in `cache`: part -> result."""
    found = kind.measure(subject, keep_of(kind.name, subject, cache, kind, kind.reads))
    return dict(found) if isinstance(found, Mapping) else {"network": found}


def keep_of(
    name: str,
    subject: Subject,
    cache: Path,
    settings: Any,
    reads: tuple[str, ...],
    once: MutableMapping[str, Any] | None = None,
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
    """
    everything = to_settings(subject.config)
    # Where no settings of a probe are given its defaults are in force.
    everything["probes"] = {
        name: to_settings(subject.config.probe_settings(name))
        for path in reads
        for section, _, name in [path.partition(".")]
        if section == "probes"
    }
    key: dict[str, Any] = {
        "settings": to_settings(settings),
        "reads": {path: reduce(lambda d, k: d[k], path.split("."), everything) for path in reads},
        "stream": everything["stream"],
        "oracles": [subject.config.probe.baseline_images, *subject.oracles],
        "level": [subject.level, subject.forms_at],
        **subject.identity,
    }
    known = subject.identity["denoiser"] is not None
    return Keep(cache if known else None, name, key, once)


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
