"""Records: results on disk, and back.

Whatever is measured is a frozen dataclass of tensors, numbers, text, tuples, lists, dicts and
further such dataclasses. `plain` puts it in terms of JSON and `restore` makes the dataclass of
that again. There are two kinds of files, told apart by their endings, both with a schema version
and neither pickled:

    NAME.json   for people and scripts; tensors are lists, and what is not defined is null
    NAME.npz    for the program itself; arrays beside the JSON of the rest, every bit kept, sealed
                with a checksum

The seal is the comment of the zip file that an .npz is: the SHA-256 of all before it. A record that
was cut or in which a bit has changed is found before anything in it is believed.
"""

import dataclasses
import hashlib
import io
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.atomic import atomic_file, write_text
from diffprobe.foundations.errors import CheckpointError, UsageError, first_line
from diffprobe.foundations.estimates import in_words

if TYPE_CHECKING:
    from diffprobe.foundations.intervals import Interval

SCHEMA = "diffprobe-record/1"
_ARRAY = "__array__"  # marks the place of an array that lies beside the JSON
_NO_COMMENT = b"\0\0"  # how a zip file ends that has none: the length of the comment


def write_record(path: Path, content: Any, *, schema: str = SCHEMA) -> None:
    """Write a record, whole or not at all.

    Args:
        path: Ends in .json or .npz.
        content: A dict or a dataclass; whatever else it holds is as `plain` takes it.
        schema: What the record is, and its version.

    Raises:
        UsageError: If the ending is another one.
    """
    if path.suffix == ".json":
        record = {"schema": schema, **plain(content)}
        write_text(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    elif path.suffix == ".npz":
        import numpy as np

        arrays: dict[str, Any] = {}
        text = json.dumps({"schema": schema, **plain(content, arrays)})
        file = io.BytesIO()
        np.savez_compressed(file, record=np.array(text), **arrays)
        with atomic_file(path) as partial:
            partial.write_bytes(_sealed(file.getvalue()))
    else:
        raise UsageError(f"a record ends in .json or .npz, and {path.name} does not")


def read_record(path: Path, kind: Any = None, *, schema: str = SCHEMA) -> Any:
    """Return what `write_record` wrote.

    Args:
        path: Ends in .json or .npz.
        kind: The dataclass (or `dict[str, …]` of such) that was written; by default dicts and lists
            are returned, beside tensors if the record is an .npz.
        schema: What the record must be.

    Raises:
        UsageError: If there is no such file.
        CheckpointError: If it is damaged, of another schema version, or not of this kind.
    """
    if not path.exists():
        raise UsageError(f"no record at {path}")
    try:
        content = _read_archive(path) if path.suffix == ".npz" else json.loads(path.read_bytes())
    # Where the damage is decides who stumbles over it: zip, zlib, numpy, JSON, the stack.
    except Exception as error:
        raise CheckpointError(f"the record {path} is damaged: {first_line(error)}") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise CheckpointError(f"{path} is no record of diffprobe: it names no schema")
    found = content.pop("schema")
    if found != schema:
        raise CheckpointError(f"the record {path} is of schema {found!r}; {schema!r} can be read")
    if kind is None:
        return content
    try:
        return restore(kind, content)
    except CheckpointError as error:
        raise CheckpointError(f"the record {path} is of another kind: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, which must be an object.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings")
    return content


def plain(value: Any, arrays: dict[str, Any] | None = None) -> Any:
    """Return `value` in terms of JSON: dicts, lists, numbers, text and None.

    Args:
        value: A result, or a part of one.
        arrays: Where tensors are put, by name. Without it they become lists, and numbers that are
            not finite None.

    >>> plain({"rate": float("nan"), "steps": (1, 2)})
    {'rate': None, 'steps': [1, 2]}
    """
    if hasattr(value, "tolist"):  # a tensor or an array, without importing torch to ask
        if arrays is None or not hasattr(value, "detach"):
            return plain(value.tolist(), arrays)
        name = f"array{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy()
        return {_ARRAY: name}
    if isinstance(value, float):
        return value if arrays is not None or math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v, arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, arrays) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {
            f.name: plain(v, arrays)
            for f, v in told.items()
            if v is not None or not f.metadata.get("optional")
        }
    return str(value) if isinstance(value, Path) else value


def restore(kind: Any, packed: Any) -> Any:
    """Return the value that `plain` packed.

    Args:
        kind: Its type: a dataclass, or what a dataclass may hold.
        packed: What `plain` returned, read from JSON; null stands for NaN where a float is due.

    Raises:
        CheckpointError: If it is not of this kind.

    >>> restore(tuple[float, ...], [1, None])
    (1.0, nan)
    """
    try:
        return _restore(kind, packed)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise CheckpointError(f"this is no {name}: {error}") from error


def _restore(kind: Any, packed: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if packed is None:
            return None
        return _restore(next(a for a in arguments if a is not type(None)), packed)
    if kind is float:
        return math.nan if packed is None else float(packed)
    if packed is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = {name: _restore(hints[name], value) for name, value in packed.items()}
        return typing.cast(type, kind)(**parts)
    if origin in (dict, Mapping):
        return {_restore(arguments[0], k): _restore(arguments[1], v) for k, v in packed.items()}
    if origin is list:
        return [_restore(arguments[0], v) for v in packed]
    if origin is tuple:
        each = (arguments[0],) * len(packed) if arguments[-1] is Ellipsis else arguments
        return tuple(_restore(k, v) for k, v in zip(each, packed, strict=True))
    if kind in (int, Path):
        return kind(packed)
    if getattr(kind, "__name__", "") == "Tensor" and isinstance(packed, list | float | int):
        return _tensor(packed)
    return packed


def _tensor(numbers: Any) -> Any:
    """A tensor from lists: whole numbers and truth values as they are, others float64."""
    import numpy as np
    import torch

    array = np.array(numbers)
    if array.dtype == object:  # null among the numbers
        array = np.array(numbers, dtype=np.float64)
    return torch.from_numpy(np.atleast_1d(array)).reshape(array.shape)


def _read_archive(path: Path) -> Any:
    import numpy as np

    content = path.read_bytes()
    archive = content[: -len(_seal(b""))] + _NO_COMMENT
    if content != _sealed(archive):
        raise ValueError("its content is not that of its checksum")
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return _with_arrays(json.loads(str(arrays["record"])), arrays)


def _sealed(archive: bytes) -> bytes:
    """The zip file without a comment, with its checksum as the comment."""
    return archive.removesuffix(_NO_COMMENT) + _seal(archive)


def _seal(archive: bytes) -> bytes:
    seal = hashlib.sha256(archive).hexdigest().encode()
    return len(seal).to_bytes(2, "little") + seal


def _with_arrays(packed: Any, archive: Mapping[str, Any]) -> Any:
    if isinstance(packed, list):
        return [_with_arrays(v, archive) for v in packed]
    if not isinstance(packed, dict):
        return packed
    if packed.keys() == {_ARRAY}:
        import torch

        return torch.from_numpy(archive[packed[_ARRAY]])
    return {k: _with_arrays(v, archive) for k, v in packed.items()}


def estimate(found: "Interval", index: Any = ()) -> dict[str, Any]:
    """Return one number of an `Interval` under the names every record uses.

    `standard_error`, `low` and `high` are null where no interval is told; `n` is how many
    independent inputs it rests on.
    """
    one = found[index]
    content = {
        name: float(getattr(one, name)) for name in ("value", "standard_error", "low", "high")
    }
    return {**content, "n": int(one.n)}


def interval(content: Mapping[str, Any]) -> str:
    """Return an estimate that was read from a record in words.

    >>> interval({"value": 0.5, "low": 0.48, "high": 0.52})
    '0.500 ± 0.020'
    """
    return in_words(content["value"], content["low"], content["high"])
