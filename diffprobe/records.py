"""Results as JSON: tensors become lists, and what is not defined becomes null."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffprobe.atomic import write_text


def plain(value: Any) -> Any:
    """Return `value` in terms of JSON: dicts, lists, numbers, text and None.

    >>> plain({"rate": float("nan"), "steps": (1, 2)})
    {'rate': None, 'steps': [1, 2]}
    """
    if hasattr(value, "tolist"):  # a tensor or an array, without importing torch to ask
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return str(value) if isinstance(value, Path) else value


def write_record(path: Path, content: Any) -> None:
    """Write `content` as a JSON file, whole or not at all."""
    write_text(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def estimate(value: Any, error: Any) -> dict[str, float]:
    """Return a value with its standard error, under the names every record uses."""
    return {"value": float(value), "standard_error": float(error)}


def interval(content: dict[str, float]) -> str:
    """Return an estimate in words; ± is a 95 % interval.

    >>> interval({"value": 0.5, "standard_error": 0.01})
    '0.500 ± 0.020'
    """
    return f"{content['value']:.3f} ± {1.96 * content['standard_error']:.3f}"
