"""Hidden states in numbers and words."""

import math
from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.hidden_states.answering import CHANCE, QUESTIONS, HiddenStates


def summary(results: Mapping[str, HiddenStates]) -> dict[str, Any]:
    """Return what the best layer tells of each question where the answer is all but certain."""
    found = {}
    for question, result in results.items():
        row, level = result.best
        each = result.untrained_each.value[:, level]
        found[question] = {
            "layer": result.layers[row],
            "t": result.t[level],
            "log_snr": result.log_snr[level].item(),
            "images": result.images,
            "words": result.words,
            "accuracy": estimate(result.accuracy, (row, level)),
            "pixels": estimate(result.accuracy, (0, level)),
            "output": estimate(result.accuracy, (-1, level)),
            # Named for what it is, so that it is not taken for a measurement of the network.
            "bayes": estimate(result.optimum, level),
            "chance": CHANCE,
            "untrained": estimate(result.untrained, level),
            "untrained_range": [float(each.min()), float(each.max())] if len(each) else None,
            "untrained_networks": len(each),
            "difference": estimate(result.difference, level),
            "shared": estimate(result.shared),
            "control": estimate(result.control),
            "selectivity": estimate(result.selectivity),
            "shared_images": result.shared_images,
            "lacking": result.lacking,
        }
    return found


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return the summary in words."""
    told = []
    for question, found in content.items():
        told.append(f"hidden states, {QUESTIONS[question]}")
        if found["lacking"]:
            told.append(f"  undefined: {found['lacking']}")
            continue
        told += [
            f"  best layer {found['layer']} at log-SNR {found['log_snr']:z.1f}, on words that its "
            f"probe has not seen: {interval(found['accuracy'])} ({found['images']:,} images of "
            f"{found['words']:,} words); {verdict(found)}",
            f"  {_beside(found)}",
            f"  of words seen {interval(found['shared'])}, and of random labels by word "
            f"{interval(found['control'])}: selectivity {interval(found['selectivity'])} "
            f"({found['shared_images']:,} images of {found['selectivity']['n']:,} words)",
            f"  the same linear probe of the noisy pixels: {interval(found['pixels'])}; of the "
            f"output x0_hat: {interval(found['output'])}",
        ]
    return told


def verdict(found: Mapping[str, Any]) -> str:
    """Return what one question's summary allows to be said of the best layer.

    More than an untrained network is claimed where the interval of the paired difference is above
    zero and no untrained network scores as much; that a rule was found, where the accuracy on
    unseen words is above one half too.
    """
    accuracy, difference = found["accuracy"], found["difference"]
    if not math.isfinite(accuracy["low"]):
        return "too few words for a verdict"
    generalises = accuracy["low"] > found["chance"]
    if found["untrained_range"] is None:
        compared = "no untrained network to compare with"
        half = "above one half" if generalises else "not above one half"
        return f"{half}, and {compared}"
    more = difference["low"] > 0 and accuracy["value"] > found["untrained_range"][1]
    if not more:
        return "no more than an untrained network"
    if not generalises:
        return "above the untrained network, but not above one half on unseen words"
    return "above the untrained network, and generalises to unseen words"


def _beside(found: Mapping[str, Any]) -> str:
    optimum = found["bayes"]
    ceiling = f"; exact optimum {interval(optimum)}" if math.isfinite(optimum["value"]) else ""
    if found["untrained_range"] is None:
        return f"no network to build anew, untrained{ceiling}"
    low, high = found["untrained_range"]
    return (
        f"the same network untrained: {interval(found['untrained'])}, {low:.3f} to {high:.3f} over "
        f"{found['untrained_networks']} seeds; difference {interval(found['difference'])}{ceiling}"
    )
