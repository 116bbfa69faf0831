"""summary.json: the headline numbers of all that was measured of one checkpoint, by any command.

probes      what was measured -> its numbers; `attribution`, or `attribution_region-2` where the
            settings differ from the run's own
settings    the same -> which probe it is, in what its settings differ, and a hash of the network
along       the same -> its numbers at each checkpoint
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.lock import in_turn
from diffprobe.foundations.records import read_record, restore, write_record
from diffprobe.probing.naming import in_words, tag

NAME, LOCK = "summary.json", "lock"
# What the way in which the denoiser was opened decides.
OPENED = (
    "level",
    "symbols_form_at",
    "oracles",
    "grammar_known",
    "inputs",
    "regions",
    "differs",
    "hash",
)


@dataclass(frozen=True)
class Setting:
    """Under which settings something was measured.

    Attributes:
        probe: What was measured.
        differs: In what its settings differ from the run's own: setting -> value.
        hash: Of the network; None for a function.
    """

    probe: str
    differs: dict[str, Any]
    hash: str | None


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a checkpoint's probes; None where there is none, or it is damaged."""
    try:
        found: dict[str, Any] = read_record(folder / NAME)
        settings = restore(dict[str, Setting], found.get("settings"))
    except (UsageError, CheckpointError):
        return None
    parts = (found.get(part) for part in ("probes", "along", "skipped", "differs"))
    if not found.keys() >= {*OPENED, "dynamics"} or not all(isinstance(p, dict) for p in parts):
        return None
    return {**found, "settings": settings}


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Add what a command found to what earlier ones found.

    Args:
        folder: Of the checkpoint's probes.
        summary: What is to be written. What is measured again replaces what was measured before
            under the same name alone; what was measured of another network where this one is now
            is told no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Another command may be adding to it just now.
    with in_turn(folder / LOCK):
        before = read_summary(folder)
        ours = summary if before is None else _merged(before, summary)
        figures = [str(path) for path in sorted(folder.glob("*.png"))]
        write_record(folder / NAME, {**ours, "figures": figures})


def other_settings(folder: Path) -> dict[str, str]:
    """Return under which other settings than its own a checkpoint was probed.

    Returns:
        What is put behind the names of their figures -> the settings in words.
    """
    summary = read_summary(folder) or {"settings": {}}
    every = [each.differs for each in summary["settings"].values()]
    return {tag(differs): in_words(differs) for differs in every if differs}


def _merged(before: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    true = {name for name, setting in before["settings"].items() if not _is_stale(setting, ours)}
    if not true:
        return dict(ours)
    both = {
        part: {**{k: v for k, v in before[part].items() if k in true}, **ours[part]}
        for part in ("probes", "settings", "along")
    }
    measured = {setting.probe for setting in both["settings"].values()}
    skipped = {**before["skipped"], **ours["skipped"]}
    # What is told of all is of the run's own settings where these were probed.
    opened = before if ours["differs"] and ours["differs"] != before["differs"] else ours
    return {
        **ours,
        **{part: opened[part] for part in OPENED},
        **both,
        "skipped": {name: why for name, why in skipped.items() if name not in measured},
        "dynamics": before["dynamics"] if ours["dynamics"] is None else ours["dynamics"],
    }


def _is_stale(setting: Setting, ours: Mapping[str, Any]) -> bool:
    """Whether something was measured of a network that is not there any more."""
    same_weights = setting.differs.get("weights") == ours["differs"].get("weights")
    return same_weights and (ours["hash"] is None or setting.hash != ours["hash"])
