"""What the page's explorer shows: who listens to whom, by noise level and training step.

It reads what `diffprobe probe --probe locality` wrote, and `--steps all` for the training steps:

    probes/step-*/locality.json   LDR and dependence at each level, of the network and the oracles
    probes/step-*/summary.json    regions, levels, excess LDR with the error of paired differences

A row of a dependence matrix is stored as shares of its sum in whole 1/10,000: what the page shows
is no finer, and a run of many steps stays small.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from diffprobe.figures import LABELS
from diffprobe.probes.ratio import NO_DEPENDENCE

WHOLE = 10_000  # a share of 100 %
SHARES = 600_000  # stored at most, about 2 MB; beyond it steps are left out, then levels

Item = TypeVar("Item")


def explorer_data(probes: Path) -> dict[str, Any] | None:
    """Return what the explorer shows, in terms of JSON.

    Args:
        probes: The folder `probes/` of a run.

    Returns:
        None where the probe of locality has not been run, or where its regions are no boxes.
    """
    files = sorted(probes.glob("step-*/locality.json"))
    newest = next((f for f in reversed(files) if f.with_name("summary.json").exists()), None)
    if newest is None:
        return None
    summary = json.loads(newest.with_name("summary.json").read_text("utf-8"))
    regions = summary.get("regions")
    if regions is None or None in regions["boxes"]:
        return None
    found = {_step(file): json.loads(file.read_text("utf-8")) for file in files}
    reference = found[_step(newest)]
    # Steps that were measured in another way do not belong on the same slider.
    found = {step: results for step, results in found.items() if _alike(results, reference)}
    t, start = reference["network"]["t"], summary["level"]["t"]
    room = max(1, SHARES // (2 * len(regions["boxes"]) ** 2))
    levels = _spread(range(len(t)), room, t.index(start))
    steps = _spread(list(found), max(1, room // len(levels)), _step(newest))
    return {
        "architecture": summary["architecture"],
        "label": {name: LABELS.get(name, summary["architecture"]) for name in reference},
        "variant": reference["network"]["settings"]["variant"],
        "output": reference["network"]["settings"]["output"],
        "regions": regions,
        "whole": WHOLE,
        "steps": steps,
        "t": [t[level] for level in levels],
        "log_snr": [reference["network"]["log_snr"][level] for level in levels],
        "inputs": [[found[step]["network"]["inputs"][at] for at in levels] for step in steps],
        "start": [t[level] for level in levels].index(start),
        "parts": {
            name: _part([found[step][name] for step in steps], levels, name != "product")
            for name in ("network", "bayes", "product")
            if name in reference
        },
        "excess": _excess(summary, steps, levels),
    }


def _step(file: Path) -> int:
    return int(file.parent.name.removeprefix("step-"))


def _alike(results: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    return results.keys() == reference.keys() and all(
        results["network"][key] == reference["network"][key] for key in ("t", "settings")
    )


def _spread(items: Sequence[Item], n: int, keep: Item) -> list[Item]:
    """Return `n` of the items, evenly spread, `keep` among them."""
    at, n = items.index(keep), min(n, len(items))
    chosen = {round(i * (len(items) - 1) / max(1, n - 1)) for i in range(n)}
    if at not in chosen:
        chosen = chosen - {min(chosen, key=lambda i: abs(i - at))} | {at}
    return [items[i] for i in sorted(chosen)]


def _part(results: list[dict[str, Any]], levels: Sequence[int], matrices: bool) -> dict[str, Any]:
    """Return one denoiser at each step; an oracle is the same at all, and stored once."""
    different: list[dict[str, Any]] = []
    at = []
    for result in results:
        moment = {key: [result[key][level] for level in levels] for key in ("ldr", "ldr_error")}
        if matrices:
            moment |= _shares(result, levels)
        if moment not in different:
            different.append(moment)
        at.append(different.index(moment))
    return {"moments": different, "at": at}


def _shares(result: Mapping[str, Any], levels: Sequence[int]) -> dict[str, Any]:
    """Return each region's shares (T, R, R), and the standard error of its own share (T, R).

    With the pairs' errors e taken as independent,

        s_i = B_ii / Σ_j B_ij
        se(s_i)² = ((1 - s_i)² e_ii² + s_i² Σ_{j≠i} e_ij²) / (Σ_j B_ij)²
    """
    energy, error = (
        torch.tensor([result[key][level] for level in levels], dtype=torch.float64)
        for key in ("dependence", "dependence_error")
    )
    total = energy.sum(-1)
    share = energy / total[..., None]
    own = share.diagonal(dim1=1, dim2=2)
    error_own = error.diagonal(dim1=1, dim2=2)
    rest = error.square().sum(-1) - error_own.square()
    own_error = ((1 - own).square() * error_own.square() + own.square() * rest).sqrt() / total
    # Tensors of integers hold no NaN: what depends on nothing is null in the lists.
    nothing = total <= NO_DEPENDENCE
    whole = (share.nan_to_num() * WHOLE).round().long().tolist()
    errors = (own_error.nan_to_num() * WHOLE).round().long().tolist()
    return {
        "shares": [
            [None if empty else row for row, empty in zip(rows, empties, strict=True)]
            for rows, empties in zip(whole, nothing.tolist(), strict=True)
        ],
        "own_error": errors,
    }


def _excess(
    summary: Mapping[str, Any], steps: Sequence[int], levels: Sequence[int]
) -> list[list[dict[str, float] | None]]:
    """Return the excess LDR at each step and level; None where it is not known."""
    rows = {row["step"]: row["levels"] for row in summary["along"].get("locality", [])}
    rows[summary["step"]] = summary["probes"]["locality"]["levels"]
    return [
        [rows[step][level]["excess_ldr"] if step in rows else None for level in levels]
        for step in steps
    ]
