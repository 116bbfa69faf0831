"""What results are called: by the probe, and by what differs from the run's own settings.

`attribution` is that of the run's own settings, `attribution_region-2` that of another region: one
does not overwrite the other.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from diffprobe.config import Config
from diffprobe.foundations.settings import leaves, to_settings
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.measuring import settings_at
from diffprobe.probing.subject import Subject

# What no probe is the same without.
EVERYWHERE = ("grammar", "images", "stream", "probe.level", "probe.baseline_images")
# What chooses the level where none is given.
CHOOSES_LEVEL = ("probe.grammar_images", "probe.grammar_levels")
LONGEST = 80  # of a name's part that tells settings


def differing(subject: Subject, kind: ProbeKind | None = None, *reads: str) -> dict[str, Any]:
    """Return in what a subject is probed in another way than its run's own settings say.

    Args:
        subject: As it was opened.
        kind: A probe whose settings count as well.
        reads: Other settings that count.

    Returns:
        Setting -> value, in the words of the command line; empty where nothing differs.
    """
    ours, own = (_told(config, kind, *reads) for config in (subject.config, subject.own))
    return {**subject.asked, **{k: v for k, v in ours.items() if v != own.get(k)}}


def tag(differs: Mapping[str, Any]) -> str:
    """Return what is put behind a name.

    >>> tag({"region": 2, "methods": ["saliency", "occlusion"]}), tag({})
    ('_region-2_methods-saliency+occlusion', '')
    >>> tag({"prompt": "a cat"}), tag({"prompt": "a/cat"})
    ('_prompt-a-cat-51e4', '_prompt-a-cat-3f73')
    """
    found = "".join(f"_{key.replace('_', '-')}-{_short(value)}" for key, value in differs.items())
    return found if len(found) <= LONGEST else f"{found[:LONGEST]}-{_hash(found)}"


def in_words(differs: Mapping[str, Any]) -> str:
    """Return what differs in words.

    >>> in_words({"region": 2, "metric_images": 0})
    'region 2, metric images 0'
    """
    return ", ".join(f"{key.replace('_', ' ')} {_text(value)}" for key, value in differs.items())


def _told(config: Config, kind: ProbeKind | None, *reads: str) -> dict[str, Any]:
    """Setting -> value, of all that a probe's results depend on."""
    paths = [*EVERYWHERE, *reads]
    if config.probe.level == -1:
        paths += CHOOSES_LEVEL
    own: dict[str, Any] = {}
    if kind is not None:
        paths += kind.reads
        own = to_settings(config.probe_settings(kind.name))
        del own["name"]
    found: dict[str, Any] = {}
    for path, value in settings_at(config, *paths).items():
        found |= dict(leaves(value, f"{path}.")) if isinstance(value, Mapping) else {path: value}
    weights = config.sampling.weights or next(iter(config.averages), "raw")
    found.pop("sampling.weights", None)
    common = {_name(path): value for path, value in found.items()}
    return {**common, "weights": weights, **own}


def _name(path: str) -> str:
    """What a setting is called: `region` of `probe.region`, `sampler` of `sampler.name`."""
    section, _, rest = path.removeprefix("probe.").removeprefix("probes.").rpartition(".")
    return "-".join(filter(None, [*section.split("."), rest if rest != "name" else ""]))


def _short(value: Any) -> str:
    text = _text(value)
    plain = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).replace("_", "-")
    return plain if plain == text else f"{plain[:24].strip('-')}-{_hash(text)}"


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]
