"""One sample in numbers and words: what it is, what is believed of a cell, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffprobe.probes.attribution.maps import Attribution
from diffprobe.probes.attribution.methods import TITLES
from diffprobe.probes.attribution.one_sample import Account, apart
from diffprobe.probes.attribution.ranks import telling

SURE = 0.5  # two beliefs further apart than this, in total variation, contradict each other
NAMED = 4  # cells that are named, those with the largest share
LEAST = 0.05  # share of |map| below which a cell is not worth its name
WHO = {"network": "network", "bayes": "optimum", "product": "its pixels"}


def summary(account: Account, maps: Mapping[str, Attribution]) -> dict[str, Any]:
    """Return what is read and believed, and the cells that each method names."""
    first = maps["network"]
    return {
        "sample": {
            "file": account.file,
            "index": account.index,
            "on_path": account.on_path,
            "seed": account.seed,
            "word": [account.symbols[s] for s in account.word.tolist()],
            "legible": account.legible.tolist(),
            "verdict": account.verdict,
            "violations": account.violations,
            "distance": int((account.word != account.nearest).sum()),
            "nearest": [account.symbols[s] for s in account.nearest.tolist()],
            "suspects": account.suspects.nonzero()[:, 0].tolist(),
        },
        "region": first.cells[first.region],
        "cell": first.region if account.by_cell else None,
        "t": first.t,
        "log_snr": first.log_snr,
        "output": first.settings["output"],
        "baseline": first.settings["baseline"],
        "symbols": account.symbols,
        "beliefs": {who: shares.tolist() for who, shares in account.beliefs.items()},
        "apart": apart(account.beliefs["network"], account.beliefs["bayes"]).tolist(),
        "path": _path(account),
        "misfit": account.misfit.tolist(),
        "radius": account.radius,
        "methods": first.methods,
        "cells": first.cells,
        "shares": {who: _shares(r) for who, r in maps.items()},
    }


def _path(account: Account) -> dict[str, Any] | None:
    """Return where on the path network and optimum contradict each other; None if nowhere known."""
    steps = (account.parting > SURE).any(1).nonzero()[:, 0]
    if len(steps) == 0:
        return None
    step, cell = divmod(int(account.parting.argmax()), account.parting.shape[1])
    log_snr = {
        "first": account.log_snr[steps[0]].item(),
        "last": account.log_snr[steps[-1]].item(),
        "most": account.log_snr[step].item(),
    }
    return {**log_snr, "cell": cell, "apart": account.parting.amax(1).tolist()}


def _shares(result: Attribution) -> dict[str, list[float] | None]:
    """Method -> the share of |map| in each cell; None where the map is nothing but rounding."""
    sums = telling(result.cell_sums, result.size)[:, 0]
    shares = sums / sums.sum(-1, keepdim=True)
    return {
        method: share.tolist() if share.isfinite().all() else None
        for method, share in zip(result.methods, shares, strict=True)
    }


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return in words what the sample is, where it is looked at, what is believed, and why."""
    sample = content["sample"]
    stem = sample["file"].removesuffix(".npz")
    how = (
        "on its own sampling path, walked again"
        if sample["on_path"]
        else f"under fresh noise (seed {sample['seed']}), since its path is not known"
    )
    found = [
        f"sample {sample['index']} of {stem}",
        f"  reads       {_word(sample)}: {_verdict(sample)}",
        f"  looked at   {how}, at log-SNR {content['log_snr']:z.2f} (t = {content['t']})",
    ]
    if sample["verdict"] == "invalid":
        nearest = " ".join(sample["nearest"])
        found.insert(2, f"  would be    {nearest}, a nearest valid word: {_changes(sample)}")
    if (path := content["path"]) is not None:
        found.append(
            "  they part   network and optimum, about a cell, from log-SNR "
            f"{path['first']:z.2f} to {path['last']:z.2f} of the path; most at "
            f"{path['most']:z.2f}, about cell {path['cell']}"
        )
    if content["cell"] is not None:
        found += _belief_lines(content, content["cell"])
    asked = f"the output of {content['region']}"
    if content["output"] == "contrast":
        a, b = _likeliest(content["beliefs"]["product"][content["cell"]], content["symbols"])[:2]
        asked = f"its being {a} rather than {b}"
    found.append(f"which cells matter to {asked}: largest shares of |map|")
    for method in content["methods"]:
        parts = [
            f"{WHO[who]} {_named(by[method], content)}" for who, by in content["shares"].items()
        ]
        found.append(f"  {TITLES[method]:20} " + "; ".join(parts))
    if content["cell"] is not None:
        found.append(f"why           {_why(content, content['cell'])}")
    return found


def _word(sample: Mapping[str, Any]) -> str:
    shown = zip(sample["word"], sample["legible"], strict=True)
    return " ".join(symbol if legible else "?" for symbol, legible in shown)


def _verdict(sample: Mapping[str, Any]) -> str:
    if sample["verdict"] == "illegible":
        unread = [i for i, legible in enumerate(sample["legible"]) if not legible]
        return f"illegible, {_cells(unread)} cannot be read"
    return ", ".join([sample["verdict"], *sample["violations"]])


def _changes(sample: Mapping[str, Any]) -> str:
    """Say how many cells are to be changed, and which come into question."""
    n, suspects = sample["distance"], sample["suspects"]
    where = "in" if n == len(suspects) else "among"
    return f"{n} change{'s' * (n != 1)}, {where} {_cells(suspects)}"


def _cells(indices: list[int]) -> str:
    named = ", ".join(map(str, indices))
    return f"cell {named}" if len(indices) == 1 else f"cells {named}"


def _belief_lines(content: Mapping[str, Any], cell: int) -> list[str]:
    read = content["sample"]["word"][cell]
    found = [f"{content['region']}, read as {read}" + _unsure(content, cell)]
    for who, shares in content["beliefs"].items():
        order = sorted(zip(shares[cell], content["symbols"], strict=True), reverse=True)
        told = ", ".join(f"{symbol} ({share:.2f})" for share, symbol in order[:3] if share >= 0.005)
        note = {
            "bayes": ", from the whole image",
            "product": " alone, without the grammar",
        }.get(who, "")
        found.append(f"  {WHO[who]:11} {told}{note}")
    return found


def _unsure(content: Mapping[str, Any], cell: int) -> str:
    misfit = content["misfit"][cell]
    if misfit <= content["radius"]:
        return ""
    return f" (the network's output there is no blend of symbols: {misfit:.2f} a pixel off)"


def _named(shares: list[float] | None, content: Mapping[str, Any]) -> str:
    if shares is None:
        return "nothing, its output is certain"
    order = sorted(range(len(shares)), key=lambda i: -shares[i])[:NAMED]
    told = [i for i in order if shares[i] >= LEAST] or order[:1]
    return ", ".join(f"{content['cells'][i]} {shares[i]:.2f}" for i in told)


def _why(content: Mapping[str, Any], cell: int) -> str:
    """Return the answer in one sentence, as far as this cell and noise level give one."""
    sample = content["sample"]
    if sample["verdict"] == "illegible":
        return "the sample cannot be read: what is wrong with it is not the grammar"
    whole = "nothing broke: the sample is valid; " if sample["verdict"] == "valid" else ""
    takes = [
        {who: _likeliest(by[i], content["symbols"])[0] for who, by in content["beliefs"].items()}
        for i in range(len(sample["word"]))
    ]
    apart = content["apart"]
    most = max(range(len(apart)), key=lambda i: apart[i])
    if apart[cell] > SURE:
        took = takes[cell]
        by = " goes by the cell's own pixels and" * (took["network"] == took["product"])
        return (
            f"{whole}here they part: the network{by} takes cell {cell} for {took['network']}; the "
            f"optimum, which weighs the whole image, for {took['bayes']}{_own(content, cell)}"
        )
    if apart[most] > SURE:
        return (
            f"{whole}network and optimum agree about cell {cell} here; they part most about cell "
            f"{most}, which the network takes for {takes[most]['network']} and the optimum for "
            f"{takes[most]['bayes']}: try --cell {most}"
        )
    path = content["path"]
    there = f"--log-snr {path['most']:.2f} --cell {path['cell']}" if path else "another --log-snr"
    return (
        f"{whole}network and optimum do not contradict each other about any cell at this noise "
        f"level: try {there}"
    )


def _own(content: Mapping[str, Any], cell: int) -> str:
    """Say which part of the first method's maps is in the cell itself."""
    method = content["methods"][0]
    shares = {who: by[method] for who, by in content["shares"].items()}
    told = ", ".join(f"{WHO[who]} {by[cell]:.0%}" for who, by in shares.items() if by)
    return f" ({TITLES[method]} in the cell itself: {told})" if told else ""


def _likeliest(shares: list[float], symbols: Sequence[str]) -> list[str]:
    return [symbols[v] for v in sorted(range(len(shares)), key=lambda v: -shares[v])]
