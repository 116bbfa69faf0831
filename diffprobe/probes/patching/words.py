"""Patching in numbers and words."""

from collections.abc import Mapping
from typing import Any

import torch

from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.patching import CORRUPTED, MEAN, ZERO
from diffprobe.probes.patching.attention import Attention
from diffprobe.probes.patching.components import OTHERS, OWN, WHOLE
from diffprobe.probes.patching.effects import PLACES, Effects
from diffprobe.probes.patching.response import Response
from diffprobe.probes.patching.samples import SamplesWithout, Without

# Parts that a summary in words names of each kind.
NAMED = 5
# What a part is held at, in words.
AT = {CORRUPTED: "that of the other word", MEAN: "its mean", ZERO: "zero"}


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effects where the probes look, by network, replacement, component and place."""
    network: Effects = results["network"]
    responses = {
        name.removesuffix("-response"): result
        for name, result in results.items()
        if isinstance(result, Response)
    }
    found: dict[str, Any] = {
        "t": int(network.t[network.level]),
        "log_snr": float(network.log_snr[network.level]),
        "pairs": network.pairs,
        "noises": network.settings["noises"],
        "everything": 1 - network.everything,
        "nothing": network.nothing,
        "response": {name: _response(result, network.level) for name, result in responses.items()},
        **{name: _effects(results[name]) for name in ("network", "untrained") if name in results},
    }
    if (routes := _routes(network)) is not None:
        found["routes"] = routes
    looks = {"network": "attention", "untrained": "untrained-attention"}
    if known := {who: results[part] for who, part in looks.items() if part in results}:
        found["attention"] = {who: _attention(result) for who, result in known.items()}
    if "samples" in results:
        found["samples"] = _samples(results["samples"])
    return found


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return the summary in words."""
    beside = (
        "; way of the optimum's in the cell, in others" if "bayes" in content["response"] else ""
    )
    told = [
        f"patching of {content['pairs']:,} pairs that differ in one cell, noise drawn "
        f"{content['noises']} × each (log-SNR {content['log_snr']:z.2f}, t = {content['t']})",
        f"  answer to the change: share in other cells{beside}",
    ]
    for name, answer in content["response"].items():
        along = [answer[f"along_{place}"] for place in PLACES[1:]]
        known = any(one["value"] == one["value"] for one in along)
        beside = f"; {', '.join(map(interval, along))}" if known else ""
        told.append(f"    {name:11} {interval(answer['reach'])}{beside}")
    for replacement, parts in content["network"].items():
        what = {
            CORRUPTED: "told of the change alone, a part takes other cells so far of the way",
        }.get(replacement, f"a part held at {AT[replacement]}, other cells lose so much of the way")
        told.append(f"  {what}, most first")
        most = _most(parts)
        width = max([24, *(len(name) for name, _ in most)])
        told += [f"    {name:{width}} {_effect(places)}" for name, places in most]
        if replacement == CORRUPTED and "routes" in content:
            part = content["routes"]
            named = ", ".join(f"{cells} {interval(e)}" for cells, e in part["cells"].items())
            told.append(
                f"    {part['part']}, of all that reaches others most goes from cell {named}"
            )
        told += [] if most else ["    nothing reaches other cells"]
        if replacement == CORRUPTED and (held := _stream(parts)):
            told.append(f"    of it at the cell's own tokens, and at others: {held}")
        if replacement == CORRUPTED and "untrained" in content:
            null = _most(content["untrained"][CORRUPTED])[:1]
            most_of_null = [f"{name} {_effect(places)}" for name, places in null]
            what = ", ".join(most_of_null) or "nothing reaches other cells"
            told.append(f"    untrained, most: {what}")
    told.append(
        f"  everything replaced {content['everything']:.6f}, nothing {content['nothing']:.6f}"
    )
    if "attention" in content:
        told += _attention_in_words(content["attention"])
    if "samples" in content:
        told += _samples_in_words(content["samples"])
    return told


def _effects(result: Effects) -> dict[str, Any]:
    def places(replacement: str, c: int) -> dict[str, Any]:
        index = (c, result.level)
        told = {p: estimate(result.effect(replacement, p), index) for p in PLACES}
        for scale in result.scales[1:]:
            for place in PLACES[1:]:
                effect = result.effect(replacement, place, scale)
                told[f"{scale}_{place}"] = estimate(effect, index)
        return told

    return {
        replacement: {name: places(replacement, c) for c, name in enumerate(result.components)}
        for replacement in result.replacements
    }


def _routes(result: Effects) -> dict[str, Any] | None:
    """From which cell to which the part that takes most to others takes most; None where none."""
    if result.table is None:
        return None
    effect = result.effect(CORRUPTED, "others").value[:, result.level].nan_to_num(nan=-1.0)
    some = [not _counts(name) for name in result.components]
    effect = effect.masked_fill(torch.tensor(some), -1.0)
    if float(effect.max()) <= 0:
        return None
    c = int(effect.argmax())
    table = result.table[c]
    n = len(table.value)
    routes = [(i, j) for i in range(n) for j in range(n) if i != j]
    known = [place for place in routes if not bool(table.value[place].isnan())]
    most = sorted(known, key=lambda place: -float(table.value[place]))[:NAMED]
    told = {f"{j} to {i}": estimate(table, (i, j)) for i, j in most}
    return {"part": result.components[c], "cells": told}


def _response(result: Response, level: int) -> dict[str, Any]:
    return {
        "reach": estimate(result.reach, level),
        **{
            f"along_{place}": estimate(result.along, (PLACES.index(place), level))
            for place in PLACES[1:]
        },
    }


def _attention(result: Attention) -> dict[str, Any]:
    return {
        name: {
            "agreement": estimate(result.agreement, (h, result.level)),
            "own": estimate(result.own, (h, result.level)),
        }
        for h, name in enumerate(result.heads)
    }


def _samples(result: SamplesWithout) -> dict[str, Any]:
    def rates(without: Without) -> dict[str, Any]:
        return {
            "legible": without.legible,
            "grammatical": without.grammatical,
            "valid": without.valid,
            "difference": {
                **{end: getattr(without.difference, end) for end in ("value", "low", "high")},
                "n": without.difference.n[0],
            },
            "p": without.p,
        }

    return {
        "held": result.held,
        "chance": result.chance,
        "whole": rates(result.whole),
        "without": {name: rates(without) for name, without in result.parts.items()},
    }


def _counts(name: str) -> bool:
    """Whether a part is a module or a head, and not the network, nor some tokens of a stream."""
    return name != WHOLE and not name.endswith((OWN, OTHERS))


def _stream(parts: Mapping[str, Any]) -> str:
    """Where what other cells are told of the change is, behind each block."""
    found = []
    for name in (name.removesuffix(OWN) for name in parts if name.endswith(OWN)):
        ends = [parts[name + tokens]["others"] for tokens in (OWN, OTHERS)]
        if ends[0]["value"] == ends[0]["value"]:
            found.append(f"{name} {interval(ends[0])}, {interval(ends[1])}")
    return "; ".join(found)


def _effect(places: Mapping[str, Any]) -> str:
    """What a part does in other cells, of the network's own way and of the optimum's."""
    exact = places.get("posterior_others")
    known = exact is not None and exact["value"] == exact["value"]
    beside = f", of the optimum's way {interval(exact)}" if exact is not None and known else ""
    return f"{interval(places['others'])}{beside}"


def _most(parts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The whole modules and heads that do most in other cells."""
    known = [
        (name, places)
        for name, places in parts.items()
        if _counts(name) and places["others"]["value"] == places["others"]["value"]
    ]
    return sorted(known, key=lambda part: -part[1]["others"]["value"])[:NAMED]


def _attention_in_words(content: Mapping[str, Any]) -> list[str]:
    """Which heads look where the optimum depends, most first; where no optimum is, how local."""
    heads = content["network"]
    what = "agreement"
    known = {n: h for n, h in heads.items() if h[what]["value"] == h[what]["value"]}
    if not known:
        own = sorted(heads.items(), key=lambda head: -head[1]["own"]["value"])
        named = ", ".join(f"{name} {interval(head['own'])}" for name, head in own[:NAMED])
        return [f"  attention of a cell to itself, most of {len(heads)} heads: {named}"]
    order = sorted(known.items(), key=lambda head: -head[1][what]["value"])
    named = ", ".join(f"{name} {interval(head[what])}" for name, head in order[:NAMED])
    told = [
        "  heads that look where the optimum depends (rank correlation; 0 is chance), most of "
        f"{len(heads)}: {named}"
    ]
    null = [h[what]["value"] for h in content.get("untrained", {}).values()]
    if null:
        told.append(f"    untrained, {len(null)} heads: {min(null):.3f} to {max(null):.3f}")
    return told


def _samples_in_words(content: Mapping[str, Any]) -> list[str]:
    whole = content["whole"]
    told = [
        f"  samples without a part, held at {AT[content['held']]}; chance "
        f"{content['chance']:.1%}, p after Holm",
        f"    {'the whole network':24} {_rates(whole)}",
    ]
    parts = sorted(content["without"].items(), key=lambda part: part[1]["difference"]["value"])
    return told + [
        f"    {name:24} {_rates(part)}; valid {_points(part['difference'])}, p = {part['p']:.2g}"
        for name, part in parts[:NAMED]
    ]


def _rates(content: Mapping[str, Any]) -> str:
    grammatical = content["grammatical"]
    share = "-" if grammatical.value is None else f"{grammatical.value:.1%}"
    return (
        f"legible {content['legible'].value:.1%}, of these grammatical {share} "
        f"({grammatical.low:.1%} to {grammatical.high:.1%})"
    )


def _points(content: Mapping[str, Any]) -> str:
    return (
        f"{100 * content['value']:+.1f} points ({100 * content['low']:+.1f} to "
        f"{100 * content['high']:+.1f})"
    )
