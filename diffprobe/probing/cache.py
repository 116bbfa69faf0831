"""Results that are kept: what was measured once, with the same settings, is not measured again.

Each part of a result is a record (see `diffprobe.foundations.records`), stored as soon as it is
there, so that a probe that was interrupted goes on with the next part. Its file is called by a hash
of everything that determines it: another setting is another file. What was not asked for longest
goes when all together are larger than `LARGEST`.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.records import read_record, restore, write_record
from diffprobe.probing.code import measuring_code

Result = TypeVar("Result")
LARGEST = 2**29  # bytes


class Keep:
    """Computes the parts of one probe's result, or finds them.

    Args:
        folder: Where parts are stored; None stores nothing.
        probe: Name of the probe.
        settings: Everything that determines the result, in terms of JSON. The code that measures
            is added.
        once: Parts that other networks beside the same oracles have found; the network's own is
            never taken from there.
    """

    def __init__(
        self,
        folder: Path | None,
        probe: str,
        settings: Mapping[str, Any],
        once: MutableMapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.probe = probe
        self.once: MutableMapping[str, Any] = {} if once is None else once
        self.key = json.dumps({"code": measuring_code(), **settings}, sort_keys=True)

    def __call__(self, part: str, cls: type[Result], compute: Callable[[], Result]) -> Result:
        """Return the stored part of these settings, or compute and store it.

        Args:
            part: Such as "network" or "bayes".
            cls: The dataclass that `compute` returns.
            compute: Measures it.
        """
        found = self._load(part, cls)
        if found is None:
            known: Result | None = self.once.get(part)
            found = compute() if known is None else known
            # What tells nothing may have gone wrong: the next time it is measured again.
            if self.folder is not None and _tells(found):
                write_record(self._path(self.folder, part), {"key": self.key, "result": found})
                _prune(self.folder)
        if part != "network":
            self.once[part] = found
        return found

    def _path(self, folder: Path, part: str) -> Path:
        return folder / f"{self.probe}-{part}-{fingerprint(self.key)}.npz"

    def _load(self, part: str, cls: type[Result]) -> Result | None:
        if self.folder is None or not (path := self._path(self.folder, part)).exists():
            return None
        try:
            record = read_record(path)
            if record.get("key") != self.key:
                return None
            result: Result = restore(cls, record.get("result"))
            path.touch()  # what is asked for stays
            return result if _tells(result) else None
        except (CheckpointError, UsageError, OSError):
            return None  # damaged, or gone by now: measured again


def fingerprint(*values: Tensor | str) -> str:
    """Return a short hash of tensors, with their shapes and types, and of text."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            digest.update(f"\0{value}\0".encode())
            continue
        plain = value.detach().cpu().contiguous()
        digest.update(str((plain.dtype, tuple(plain.shape))).encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _prune(folder: Path) -> None:
    """Delete the files asked for longest ago, until the others are no larger than `LARGEST`."""
    known = []
    for path in folder.glob("*.npz"):
        with contextlib.suppress(FileNotFoundError):  # another command prunes as well
            known.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for index, (_, size, path) in enumerate(sorted(known, reverse=True)):
        total += size
        if index and total > LARGEST:
            path.unlink(missing_ok=True)


def _tells(result: Any) -> bool:
    """Whether any of a result's numbers with an interval is a number."""
    told = [bool(each.value.isfinite().any()) for each in _intervals(result)]
    return any(told) or not told


def _intervals(result: Any) -> Iterator[Interval]:
    if isinstance(result, Interval):
        yield result
        return
    if isinstance(result, Mapping):
        parts: Any = result.values()
    elif isinstance(result, list | tuple):
        parts = result
    else:
        parts = getattr(result, "__dict__", {}).values()
    for part in parts:
        yield from _intervals(part)
