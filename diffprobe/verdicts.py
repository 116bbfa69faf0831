"""Verdicts on samples: legibility first, then the grammar.

An unreadable cell is not a grammar violation: a sample with one is illegible, and the grammatical
rate is the share of valid words among the legible samples.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.statistics import Rate, wilson


@dataclass(frozen=True)
class Verdicts:
    """What was read in N samples, and whether it obeys the grammar.

    Attributes:
        words: (N, L) long, the best reading of each cell.
        legible_cells: (N, L) bool.
        legible: (N,) bool, all cells legible.
        grammatical: (N,) bool, legible and valid.
        violations: Kind -> (N,) bool, among the legible.
        uniform_rate: Chance of validity for uniform independent symbols.
        product_rate: Chance for independent symbols of the grammar's own marginals.
    """

    words: Tensor
    legible_cells: Tensor
    legible: Tensor
    grammatical: Tensor
    violations: dict[str, Tensor]
    uniform_rate: float
    product_rate: float

    @property
    def legible_rate(self) -> Rate:
        """Share of samples in which every cell can be read."""
        return wilson(int(self.legible.sum()), len(self.legible))

    @property
    def grammatical_rate(self) -> Rate:
        """Share of valid words among the legible samples."""
        return wilson(int(self.grammatical.sum()), int(self.legible.sum()))

    def violation_rates(self) -> dict[str, Rate]:
        """Return each kind's share among the legible samples, most frequent first."""
        n = int(self.legible.sum())
        rates = {kind: wilson(int(found.sum()), n) for kind, found in self.violations.items()}
        return dict(sorted(rates.items(), key=lambda item: -item[1].count))

    def summary(self) -> dict[str, Any]:
        """Return rates, counts and chance lines."""
        return {
            "samples": len(self.words),
            "legible": self.legible_rate,
            "legible_cells": wilson(int(self.legible_cells.sum()), self.legible_cells.numel()),
            "grammatical": self.grammatical_rate,
            "chance": {"uniform": self.uniform_rate, "product": self.product_rate},
            "violations": self.violation_rates(),
        }


def judge(dataset: SymbolImages, images: Tensor) -> Verdicts:
    """Read samples and judge the words.

    Args:
        dataset: Whose glyphs and grammar to judge by.
        images: (N, 1, H, W) float.

    Raises:
        UsageError: If there are no images, or they do not fit the dataset.
    """
    dataset.check_images(images)
    if len(images) == 0:
        raise UsageError("there are no samples to judge")
    words, legible_cells = dataset.read(images)
    legible = legible_cells.all(1)
    kinds = dataset.grammar.violations(words)
    wrong = torch.stack(list(kinds.values())).any(0)
    return Verdicts(
        words=words,
        legible_cells=legible_cells,
        legible=legible,
        grammatical=legible & ~wrong,
        violations={kind: found & legible for kind, found in kinds.items()},
        uniform_rate=dataset.grammar.uniform_rate(),
        product_rate=dataset.grammar.product_rate(),
    )
