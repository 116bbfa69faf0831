"""Figures, drawn again only where what they show has changed."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffprobe.foundations.atomic import scratch_folder
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.records import read_record, write_record
from diffprobe.probing.cache import fingerprint
from diffprobe.probing.code import drawing_code


@dataclass(frozen=True)
class Note:
    """What figures were drawn of.

    Attributes:
        shows: A hash of all they depend on.
        figures: Name of the file -> a hash of it.
    """

    shows: str = ""
    figures: dict[str, str] = field(default_factory=dict)


def draw_once(
    name: str, tag: str, folder: Path, shows: str | None, draw: Callable[[Path], None]
) -> None:
    """Draw figures into a folder, unless they lie there as they were drawn of the same.

    Args:
        name: Of what is drawn.
        tag: Put behind the names of all its figures.
        folder: Holds the figures; the note of what they were drawn of is in its `cache/`.
        shows: All that the figures depend on but the code; None where nothing tells it.
        draw: Stores figures in the folder that it is given.
    """
    note = folder / "cache" / f"{name}{tag}-figures.json"
    key = None if shows is None else fingerprint(drawing_code(), shows)
    before = _noted(note)
    if before.shows == key and _are(before.figures, folder):
        return
    with scratch_folder(folder) as drawn:
        draw(drawn)
        new = {}
        for file in sorted(drawn.iterdir()):
            target = folder / f"{file.stem}{tag}{file.suffix}"
            new[target.name] = _hash(file)
            os.replace(file, target)
    for gone in before.figures.keys() - new.keys():
        (folder / Path(gone).name).unlink(missing_ok=True)
    if key is not None:
        write_record(note, Note(key, new))


def _noted(note: Path) -> Note:
    """What was noted; nothing where the note is damaged."""
    try:
        found: Note = read_record(note, Note)
        return found
    except (UsageError, CheckpointError):
        return Note()


def _are(figures: Mapping[str, str], folder: Path) -> bool:
    return all(
        (folder / name).is_file() and _hash(folder / name) == found
        for name, found in figures.items()
    )


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
