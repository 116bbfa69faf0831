"""Lines of metrics: one JSON object each, with a checksum of its own as `crc32`."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("diffprobe")


def encode(content: Mapping[str, Any]) -> bytes:
    """Return a line.

    >>> encode({"step": 1})
    b'{"step": 1, "crc32": "3a87913d"}\\n'
    """
    return json.dumps({**content, "crc32": _checksum(content)}).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, without its checksum; None if it is not as it was written.

    >>> decode(encode({"step": 1}))
    {'step': 1}
    >>> decode(encode({"step": 1}).replace(b"1", b"2")), decode(b"5")
    (None, None)
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.pop("crc32", None) != _checksum(content):
        return None
    return content


def read(path: Path) -> list[dict[str, Any]]:
    """Return what the lines of a file say; damaged ones are left out with a warning.

    The last line may have been cut short by a kill: a training that goes on writes it again.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    found = [decode(line) for line in lines]
    damaged = [f"{i}" for i, content in enumerate(found[:-1], start=1) if content is None]
    if damaged:
        logger.warning(
            "%s is damaged: line%s %s %s left out",
            path,
            "" if len(damaged) == 1 else "s",
            ", ".join(damaged),
            "is" if len(damaged) == 1 else "are",
        )
    return [content for content in found if content is not None]


def _checksum(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content).encode()):08x}"
