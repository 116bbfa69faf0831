"""Checksums of the files in a folder, as `sha256sum` writes and checks them."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from diffprobe.foundations.errors import CheckpointError

MANIFEST = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write down the checksum of every file under a folder."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / MANIFEST).write_text("".join(lines), "utf-8")


def check_checksums(folder: Path, parts: Iterable[str]) -> None:
    """Compare files with their checksums; a folder without any, such as a foreign one, passes.

    Args:
        folder: Holds SHA256SUMS.
        parts: The files and folders in it that matter.

    Raises:
        CheckpointError: If a file is missing or not as it was written.
    """
    manifest, parts = folder / MANIFEST, set(parts)
    if not manifest.exists():
        return
    text = manifest.read_text("utf-8", "replace")
    found = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in text.splitlines()]
    sums = {match[2]: match[1] for match in found if match is not None}
    if len(sums) < len(found) or not parts <= {Path(name).parts[0] for name in sums}:
        raise CheckpointError(f"{manifest} is damaged: delete it to do without checksums")
    for name, expected in sums.items():
        if Path(name).parts[0] not in parts:
            continue
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is damaged: there is no {name}")
        if _sha256(folder / name) != expected:
            raise CheckpointError(
                f"{folder / name} is damaged: its checksum is not that in {MANIFEST}. If you "
                "changed it yourself, delete that file"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
