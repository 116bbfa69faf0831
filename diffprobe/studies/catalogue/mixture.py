"""Knowledge in a mixture of data: is there a share below which no fact is learnt?

The question of arXiv:2505.18091, "Data mixing can induce phase transitions in knowledge
acquisition", asked of denoisers: words are facts, a key and its value, with probability r, and
balanced brackets otherwise. What no training knows is beside it: the optimum recalls all facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from diffprobe.studies.catalogue import TINY, StudyKind, check_scale
from diffprobe.studies.grid import Grid, grid_of

LENGTH, KEY = 14, 9
SHARE = "label.share of facts"
RECALL = "recall.network.share"


@dataclass(frozen=True)
class _Size:
    """What a scale asks for.

    Attributes:
        widths, shares: Of the grid; the second share is that of the controls.
        facts, fewer: How many, and how many are left by subsampling.
        seeds, steps, batch_size: Of trainings.
    """

    widths: Sequence[int]
    shares: Sequence[float]
    facts: int
    fewer: int
    seeds: int
    steps: int
    batch_size: int


SIZES = {
    "tiny": _Size((8, 16), (0.2, 0.8), 24, 6, 2, 24, 32),
    "cpu": _Size((16, 32, 64, 128), (0.01, 0.04, 0.08, 0.16, 0.32, 0.64), 200, 50, 3, 3000, 256),
    "gpu": _Size(
        (16, 32, 64, 128, 256), (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64), 200, 50, 8, 20000, 512
    ),
}
LONGER = 4  # times the steps


def components(share: float, facts: int) -> list[dict[str, Any]]:
    """Return the settings of a mixture: facts, whose keys close a bracket, and brackets."""
    table = {"name": "facts", "length": LENGTH, "key": KEY, "symbols": 2, "first": [1]}
    return [
        {"share": share, "grammar": {**table, "facts": facts}},
        {"share": round(1 - share, 6), "grammar": {"name": "dyck", "length": LENGTH, "kinds": 1}},
    ]


@dataclass(frozen=True)
class MixtureStudy(StudyKind):
    """Whether knowledge has a threshold in its share of the data, and how it goes with width."""

    name: ClassVar[str] = "mixture"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the threshold, and the control and rescue below it."""
        check_scale(scale)
        size = SIZES[scale]
        fixed = {
            "grammar.name": "mixture",
            "images.name": "pixels",
            "images.grid": [1, LENGTH],
            "network.depth": 2,
            "network.levels_by_cell": True,
            "objective.name": "given",
            "objective.cells": KEY,
            "objective.share": 0.75,
            **(TINY if scale == "tiny" else {"training.validation_size": 2048}),
            "training.batch_size": size.batch_size,
            "training.checkpoints": 1,
        }
        common = {
            "base": "hypercube-residual-mlp",
            "seeds": size.seeds,
            "measures": [RECALL, "recall.network.cells", "recall.bayes.share", "loss"],
        }
        return (
            grid_of({**common, **_threshold(size, fixed)}),
            grid_of({**common, **_below(size, fixed)}),
        )


def _threshold(size: _Size, fixed: dict[str, Any]) -> dict[str, Any]:
    widest, low, high = size.widths[-1], size.shares[0], size.shares[-1]
    return {
        "title": "Threshold",
        "question": "Is there a share of facts in the data below which a denoiser recalls none, "
        "and how does it go with the network's width?",
        "fixed": {**fixed, "training.steps": size.steps},
        "settings": {"network.width": list(size.widths)},
        "together": [
            {
                "grammar.components": [components(share, size.facts) for share in size.shares],
                SHARE: list(size.shares),
            }
        ],
        "claims": [
            {
                "text": "At the smallest share the widest network recalls fewer than a twentieth.",
                "measure": RECALL,
                "where": {"network.width": widest, SHARE: low},
                "below": 0.05,
            },
            {
                "text": "At the largest it recalls more than nine tenths.",
                "measure": RECALL,
                "where": {"network.width": widest, SHARE: high},
                "above": 0.9,
            },
            {
                "text": "From a quarter recalled to three quarters the share grows by less than a "
                "decade.",
                "measure": RECALL,
                "where": {"network.width": widest},
                "crosses": {SHARE: [0.25, 0.75]},
                "below": 1.0,
            },
            {
                "text": "The share at which half are recalled falls as a power of the width.",
                "measure": RECALL,
                "crosses": {SHARE: 0.5},
                "trend": "decreasing",
                "against": "network.width",
                "slope": True,
            },
        ],
        "figures": [
            {"y": RECALL, "x": SHARE, "colour": "network.width"},
            {"y": "recall.network.cells", "x": SHARE, "colour": "network.width"},
            {"y": "loss", "x": SHARE, "colour": "network.width"},
        ],
    }


def _below(size: _Size, fixed: dict[str, Any]) -> dict[str, Any]:
    share, width = size.shares[1], size.widths[-2]
    usual, longer, fewer = "as before", "longer", "fewer facts"
    return {
        "title": "Below the threshold",
        "question": "Where most facts are not recalled, does longer training help, and does "
        "leaving most facts out?",
        "fixed": {**fixed, "network.width": width},
        "together": [
            {
                "training.steps": [size.steps, LONGER * size.steps, size.steps],
                "grammar.components": [
                    components(share, facts) for facts in (size.facts, size.facts, size.fewer)
                ],
                "label.training": [usual, longer, fewer],
            }
        ],
        "claims": [
            {
                "text": "Trained four times as long, it recalls less than a quarter of the facts.",
                "measure": RECALL,
                "where": {"label.training": longer},
                "below": 0.25,
            },
            {
                "text": "Of a quarter of the facts, at the same share, more are recalled than by "
                "training four times as long; a greater share by a tenth at least.",
                "measure": RECALL,
                "between": {"label.training": [fewer, longer]},
                "expect": "greater",
                "margin": 0.1,
            },
        ],
        "figures": [{"y": RECALL, "x": "label.training"}],
    }
