"""Results that are kept: what was measured once, with the same settings, is not measured again.

Each part of a result is a record (see `diffprobe.foundations.records`), stored as soon as it is
there, so that a probe that was interrupted goes on with the next part.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffprobe import __version__
from diffprobe.foundations.errors import CheckpointError
from diffprobe.foundations.records import read_record, restore, write_record

Result = TypeVar("Result")


class Keep:
    """Computes the parts of one probe's result, or finds them.

    Args:
        folder: Where parts are stored; None stores nothing.
        probe: Name of the probe.
        settings: Everything that determines the result, in terms of JSON.
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
        self.key = json.dumps({"diffprobe": __version__, **settings}, sort_keys=True)

    def __call__(self, part: str, cls: type[Result], compute: Callable[[], Result]) -> Result:
        """Return the stored part of these settings, or compute and store it.

        Args:
            part: Such as "network" or "bayes".
            cls: The dataclass that `compute` returns.
            compute: Measures it.
        """
        path = None if self.folder is None else self.folder / f"{self.probe}-{part}.npz"
        found = None if path is None else self._load(path, cls)
        if found is None:
            known: Result | None = self.once.get(part)
            found = compute() if known is None else known
            if path is not None:
                self._store(path, found)
        if part != "network":
            self.once[part] = found
        return found

    def _store(self, path: Path, result: Any) -> None:
        write_record(path, {"key": self.key, "result": result})

    def _load(self, path: Path, cls: type[Result]) -> Result | None:
        if not path.exists():
            return None
        try:
            record = read_record(path)
            if record.get("key") != self.key:
                return None
            result: Result = restore(cls, record.get("result"))
            return result
        except CheckpointError:
            return None  # damaged, or of an older version: measured again


def fingerprint(*values: Tensor | nn.Module | str) -> str:
    """Return a short hash of tensors, of the weights of modules, and of text."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            digest.update(value.encode())
            continue
        tensors = [value] if isinstance(value, Tensor) else list(value.state_dict().values())
        for tensor in tensors:
            plain = tensor.detach().cpu().contiguous()
            digest.update(str((plain.dtype, tuple(plain.shape))).encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
