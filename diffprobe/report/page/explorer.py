"""What the page's explorer shows: who listens to whom, by noise level and training step.

It reads what `diffprobe probe --probe locality` wrote, and `--steps all` for the training steps:

    probes/step-*/locality.json   LDR and dependence at each level, of the network and the oracles
    probes/step-*/summary.json    regions, levels, LDR over the same inputs for all, excess LDR

A row of a dependence matrix is stored as shares of its sum in whole 1/10,000: what the page shows
is no finer, and a run of many steps stays small. A row may have one column more than there are
regions, the rest of the image; it counts in the sum and is not drawn.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.figures import LABELS
from diffprobe.foundations.records import read_record

logger = logging.getLogger(__name__)

WHOLE = 10_000  # a share of 100 %
SHARES = 600_000  # stored at most, about 2 MB; beyond it steps are left out, then levels

Item = TypeVar("Item")


def explorer_data(probes: Path) -> dict[str, Any] | None:
    """Return what the explorer shows, in terms of JSON.

    Args:
        probes: The folder `probes/` of a run.

    Returns:
        None where the probe of locality has not been run, or was by an older version, or where its
        regions are no boxes; and, with a warning, where its records are damaged.
    """
    try:
        return _assembled(probes)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        logger.warning("the records in %s are damaged, and left out (%r)", probes, error)
        return None


def _assembled(probes: Path) -> dict[str, Any] | None:
    files = _by_step(probes)
    found = {_step(file): each for file in files if (each := _read(file)) is not None}
    # The summary tells no more of what was measured of another network.
    told = {
        step: each
        for file in files
        if (step := _step(file)) in found
        and (each := _read(file.with_name("summary.json"))) is not None
        and "locality" in each["probes"]
    }
    if not told:
        return None
    newest = max(told)
    summary = told[newest]
    regions = summary["regions"]
    if None in regions["boxes"]:
        return None
    reference = found[newest]
    # Steps that were measured in another way do not belong on the same slider.
    found = {step: results for step, results in found.items() if _alike(results, reference)}
    t, start = reference["network"]["t"], summary["level"]["t"]
    room = max(1, SHARES // (2 * len(regions["boxes"]) * len(reference["network"]["parts"])))
    levels = _spread(range(len(t)), room, t.index(start))
    steps = _spread(list(found), max(1, room // len(levels)), newest)
    summaries = {row["step"]: row["levels"] for row in summary["along"].get("locality", [])}
    summaries[summary["step"]] = summary["probes"]["locality"]["levels"]
    return {
        "architecture": summary["architecture"],
        "label": {name: LABELS.get(name, summary["architecture"]) for name in reference},
        "variant": reference["network"]["settings"]["variant"],
        "output": reference["network"]["settings"]["output"],
        "regions": regions,
        "whole": WHOLE,
        "no_locality": regions["no_locality"],
        "steps": steps,
        "t": [t[level] for level in levels],
        "log_snr": [reference["network"]["log_snr"][level] for level in levels],
        "inputs": [[found[step]["network"]["inputs"][at] for at in levels] for step in steps],
        "start": [t[level] for level in levels].index(start),
        "parts": {
            name: _part(
                [found[step][name] for step in steps],
                [_ldr(summaries.get(step), found[step][name], name) for step in steps],
                levels,
                matrix=name != "product",
            )
            for name in ("network", "bayes", "product")
            if name in reference
        },
        "excess": [
            [
                summaries[step][level]["excess_ldr"] if step in summaries else None
                for level in levels
            ]
            for step in steps
        ],
    }


def _by_step(probes: Path) -> list[Path]:
    """The records of locality in order of their step as a number."""
    found = probes.glob("step-*/locality.json")
    return sorted((f for f in found if f.parent.name[5:].isdecimal()), key=_step)


def _read(file: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or it is damaged or of another version."""
    try:
        found: dict[str, Any] = read_record(file)
        return found
    except (UsageError, CheckpointError):
        return None  # to be measured again


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


def _ldr(
    rows: list[dict[str, Any]] | None, result: Mapping[str, Any], name: str
) -> list[dict[str, Any]]:
    """The LDR at each level: the summary's, over the same inputs for all, where there is one."""
    if rows is not None:
        return [row["ldr"][name] for row in rows]
    ratios = result["ldr"]
    return [dict(zip(ratios, level, strict=True)) for level in zip(*ratios.values(), strict=True)]


def _part(
    results: list[dict[str, Any]],
    ldr: list[list[dict[str, Any]]],
    levels: Sequence[int],
    *,
    matrix: bool,
) -> dict[str, Any]:
    """Return one denoiser at each step; an oracle is the same at all, and stored once."""
    different: list[dict[str, Any]] = []
    at = []
    for result, ratios in zip(results, ldr, strict=True):
        moment: dict[str, Any] = {"ldr": [ratios[level] for level in levels]}
        if matrix:
            moment["shares"] = _shares([result["shares"]["value"][level] for level in levels])
        if moment not in different:
            different.append(moment)
        at.append(different.index(moment))
    return {"moments": different, "at": at}


def _shares(matrices: Sequence[Any]) -> list[list[list[int] | None]]:
    """Return each region's shares of what it depends on, (T, R, S); None where that is nothing."""
    share = torch.tensor(
        [[[math.nan if x is None else x for x in row] for row in rows] for rows in matrices],
        dtype=torch.float64,
    )
    # Corrected for the bias of projections, a share of nothing may come out below 0.
    share = share.clamp(min=0)
    share = share / share.sum(-1, keepdim=True)
    # Tensors of integers hold no NaN: what depends on nothing is null in the lists.
    whole = (share.nan_to_num() * WHOLE).round().long().tolist()
    return [
        [row if known else None for row, known in zip(rows, found, strict=True)]
        for rows, found in zip(whole, share.isfinite().all(-1).tolist(), strict=True)
    ]
