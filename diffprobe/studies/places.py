"""Places in a grid: the settings that are varied, labels, and the training step."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.settings import shown

MOST_CELLS = 1000  # of a study, without --max-cells
STEP = "step"
BASE = "base"  # the preset or file that a run starts from, where that is varied
LOG_SNR = "log_snr"  # what numbers of all noise levels are drawn against
ENDS = ("first", "last")  # of a run's steps

# What is varied -> its values; None for the step, which a run has its own of.
Places = Mapping[str, Sequence[Any] | None]


def is_label(name: str) -> bool:
    """Whether what is varied is a name only, `label.world`, which changes no run."""
    return name.startswith("label.")


def plain_name(name: str) -> str:
    """Return what a setting is called in words; a label by its own name.

    >>> plain_name("label.world"), plain_name("network.width")
    ('world', 'network.width')
    """
    return name.removeprefix("label.")


def along_with(name: str, together: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the settings that say no more once this one is known, itself among them.

    Those that go hand in hand with it; beside a label, the group's other labels are not among them:
    a network and its world may each have one.

    >>> group = ("network", "label.network", "label.world")
    >>> along_with("label.network", [group]), along_with("network", [group])
    (('network', 'label.network'), ('network', 'label.network', 'label.world'))
    """
    group = next((tuple(group) for group in together if name in group), (name,))
    return tuple(n for n in group if n == name or not (is_label(n) and is_label(name)))


def told(names: Iterable[str], together: Iterable[Iterable[str]]) -> list[str]:
    """Return the settings that tell runs apart: where a group has labels, those alone."""
    hidden = [n for group in together if any(map(is_label, group)) for n in group]
    return [name for name in names if is_label(name) or name not in hidden]


def check_place(name: str, known: Iterable[str], where: str) -> None:
    """Raise UsageError unless `name` is varied, naming the nearest that is.

    Raises:
        UsageError: If it is not.
    """
    known = list(known)
    if name in known:
        return
    if not known:
        raise UsageError(f"{where} names {name!r}, and the grid varies nothing")
    error = unknown_name(f"setting in {where}", name, known)
    hint = "; along = true measures along training" if name == STEP else ""
    raise UsageError(f"{error} (it must be one that the grid varies{hint})")


def check_value(name: str, value: Any, known: Places, where: str) -> None:
    """Raise UsageError unless a varied setting has this value somewhere in the grid.

    Raises:
        UsageError: If the setting is not varied, or never has the value.
    """
    check_place(name, known, where)
    values = known[name]
    if values is None:
        if value not in ENDS and type(value) is not int:
            raise UsageError(f"{where}.step must be a step, 'first' or 'last', not {shown(value)}")
    elif value not in values:
        listed = ", ".join(map(repr, values))
        raise UsageError(f"{where}: {name} is never {value!r} in this grid, but {listed}")


def matches(row: Mapping[str, Any], where: Mapping[str, Any], steps: Sequence[int]) -> bool:
    """Whether a row of the table lies at a place.

    Args:
        row: With the settings of its cell, and its step.
        where: Setting -> value; a step that is not given is the last.
        steps: Of the row's own run and measure, in order.
    """
    wanted = {STEP: "last", **where} if steps else where
    for name, value in wanted.items():
        if name == STEP and value in ENDS:
            value = steps[0 if value == "first" else -1]
        if row[name] != value:
            return False
    return True


def label(value: Any) -> str:
    """Return what a value of a setting is called in tables and figures.

    >>> label(0.5), label("mlp"), label({"name": "mlp", "width": 64})
    ('0.5', 'mlp', 'mlp, width 64')
    """
    if isinstance(value, Mapping):
        rest = [f"{key} {label(each)}" for key, each in value.items() if key != "name"]
        return ", ".join([*([str(value["name"])] if "name" in value else []), *rest])
    return value if isinstance(value, str) else json.dumps(value)
