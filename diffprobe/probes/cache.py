"""Results that are kept: what was measured once, with the same settings, is not measured again.

A result is a frozen dataclass of tensors, numbers, text, tuples, lists, dicts and further such
dataclasses. It is stored as an `.npz` of its tensors and a JSON text of the rest; nothing is
pickled. Each part is stored as soon as it is there, so that a probe that was interrupted goes on
with the next part.
"""

import dataclasses
import hashlib
import json
import types
import typing
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from diffprobe import __version__
from diffprobe.foundations.atomic import atomic_file

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
        arrays: dict[str, Any] = {}
        record = json.dumps({"key": self.key, "result": _pack(result, arrays)})
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, record=np.array(record), **arrays)

    def _load(self, path: Path, cls: type[Result]) -> Result | None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                record = json.loads(str(archive["record"]))
                if record["key"] != self.key:
                    return None
                result: Result = _unpack(cls, record["result"], archive)
                return result
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
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


def _pack(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, Tensor):
        name = f"array{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy()
        return name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _pack(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _pack(v, arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(v, arrays) for v in value]
    return value


def _unpack(hint: Any, packed: Any, archive: Mapping[str, Any]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if packed is None:
        return None
    if origin in (types.UnionType, typing.Union):
        member = next(a for a in arguments if a is not type(None))
        return _unpack(member, packed, archive)
    if hint is Tensor:
        return torch.from_numpy(archive[packed])
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return typing.cast(type, hint)(
            **{name: _unpack(hints[name], value, archive) for name, value in packed.items()}
        )
    if origin is dict:
        return {k: _unpack(arguments[1], v, archive) for k, v in packed.items()}
    if origin in (tuple, list):
        each = (arguments[0],) * len(packed) if arguments[-1] is Ellipsis else arguments
        if origin is list:
            each = (arguments[0],) * len(packed)
        return origin(_unpack(h, v, archive) for h, v in zip(each, packed, strict=True))
    return packed
