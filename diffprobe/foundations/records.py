"""Results as JSON: tensors become lists, and what is not defined becomes null."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.atomic import write_text

if TYPE_CHECKING:
    from diffprobe.foundations.intervals import Interval


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
    """Return an estimate in words; ± is a 95 % interval, and one that is not symmetric is written.

    >>> interval({"value": 0.5, "low": 0.48, "high": 0.52})
    '0.500 ± 0.020'
    >>> interval({"value": 0.996, "low": 0.99, "high": 0.998})
    '0.996 (0.990 to 0.998)'
    >>> interval({"value": 0.996, "low": None, "high": None})
    '0.996 (no interval)'
    """
    value, low, high = (content[key] for key in ("value", "low", "high"))
    if value is None or math.isnan(value):
        return "undefined"
    if low is None or math.isnan(low):
        return f"{value:.3f} (no interval)"
    if abs((high - value) - (value - low)) > max(1e-3, 0.1 * (high - low)) + 1e-12:
        return f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"{value:.3f} ± {(high - low) / 2:.3f}"
