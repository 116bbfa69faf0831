"""Results that are kept: what was measured once, with the same settings, is not measured again.

Each part of a result is a record (see `diffprobe.foundations.records`), stored as soon as it is
there, so that a probe that was interrupted goes on with the next part.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
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
    """

    def __init__(self, folder: Path | None, probe: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.probe = probe
        self.key = json.dumps({"diffprobe": __version__, **settings}, sort_keys=True)

    def __call__(self, part: str, cls: type[Result], compute: Callable[[], Result]) -> Result:
        """Return the stored part of these settings, or compute and store it.

        Args:
            part: Such as "network" or "bayes".
            cls: The dataclass that `compute` returns.
            compute: Measures it.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{self.probe}-{part}.npz"
        found = self._load(path, cls)
        if found is None:
            found = compute()
            self._store(path, found)
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
