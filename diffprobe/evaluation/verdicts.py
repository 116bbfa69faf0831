"""Verdicts on samples: legibility first, then the grammar.

An unreadable cell is not a grammar violation: a sample with one is illegible, and the grammatical
rate is the share of valid words among the legible samples.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import Stream, SymbolImages
from diffprobe.datasets.symbol_images import LEGIBLE
from diffprobe.evaluation.broken import Broken
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import Rate, clustered, wilson
from diffprobe.foundations.tables import Table, html_table
from diffprobe.sampling.samples import Images, as_pictures

# What a sample can be; the numbers in `Verdicts.labels`.
VERDICTS = ("valid-novel", "valid-memorised", "invalid", "illegible")


@dataclass(frozen=True, repr=False)
class Verdicts(Table):
    """What was read in N samples, and whether it obeys the grammar.

    Attributes:
        words: (N, L) long, the best reading of each cell.
        confidence: (N, L) float in [0, 1], how sure each symbol is.
        legible_cells: (N, L) bool.
        legible: (N,) bool, all cells legible.
        broken: Those that are no pictures: values that are not finite, or far out of range.
        grammatical: (N,) bool, legible and valid.
        memorised: (N,) bool, grammatical and in the finite training set, where there is one.
        violations: Kind -> (N,) bool, among the legible.
        nearest: (N, L) long, a nearest valid word of each legible sample; elsewhere as read.
        distance: (N,) long, substitutions to it; -1 for illegible samples.
        uniform_rate: Chance of validity for uniform independent symbols.
        product_rate: Chance for independent symbols of the grammar's own marginals.
    """

    words: Tensor
    confidence: Tensor
    legible_cells: Tensor
    legible: Tensor
    broken: Broken
    grammatical: Tensor
    memorised: Tensor
    violations: dict[str, Tensor]
    nearest: Tensor
    distance: Tensor
    uniform_rate: float
    product_rate: float

    @cached_property
    def wrong_cells(self) -> Tensor:
        """(N, L) bool: where a legible sample's word differs from the nearest valid word."""
        return self.words != self.nearest

    @cached_property
    def invalid(self) -> Tensor:
        """(N,) bool: legible and not valid."""
        return self.legible & ~self.grammatical

    @cached_property
    def labels(self) -> Tensor:
        """(N,) long: each sample's verdict, a place in `VERDICTS`."""
        legible = torch.where(self.grammatical, self.memorised.long(), 2)
        return torch.where(self.legible, legible, 3)

    @property
    def verdict(self) -> list[str]:
        """Each sample's verdict in words."""
        return [VERDICTS[label] for label in self.labels.tolist()]

    @property
    def legible_rate(self) -> Rate:
        """Share of samples in which every cell can be read."""
        return wilson(int(self.legible.sum()), len(self.legible))

    @property
    def legible_cells_rate(self) -> Rate:
        """Share of cells that can be read; those of one sample are no independent witnesses."""
        legible = self.legible_cells.sum(1)
        return clustered(legible, torch.full_like(legible, self.legible_cells.shape[1]))

    @property
    def grammatical_rate(self) -> Rate:
        """Share of valid words among the legible samples."""
        return wilson(int(self.grammatical.sum()), int(self.legible.sum()))

    @property
    def recalled_rate(self) -> Rate:
        """Share of training words among the valid samples; 0 without a finite training set."""
        return wilson(int(self.memorised.sum()), int(self.grammatical.sum()))

    @property
    def valid_rate(self) -> Rate:
        """Share of samples that are legible and valid words: what a user of them gets."""
        return wilson(int(self.grammatical.sum()), len(self.grammatical))

    def shares(self) -> dict[str, Rate]:
        """Return each verdict's share of all samples."""
        counts = self.labels.bincount(minlength=len(VERDICTS)).tolist()
        return {
            name: wilson(count, len(self.labels))
            for name, count in zip(VERDICTS, counts, strict=True)
        }

    def violation_rates(self) -> dict[str, Rate]:
        """Return each kind's share among the legible samples, most frequent first."""
        n = int(self.legible.sum())
        rates = {kind: wilson(int(found.sum()), n) for kind, found in self.violations.items()}
        return dict(sorted(rates.items(), key=lambda item: -item[1].count))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each sample; words are texts of symbol numbers.

        An illegible sample has no nearest word and no distance to it.
        """
        spelled = [
            [" ".join(map(str, w)) for w in ws.tolist()] for ws in (self.words, self.nearest)
        ]
        legible = self.legible.tolist()
        columns = {
            "verdict": self.verdict,
            "word": spelled[0],
            "nearest": [w if known else None for w, known in zip(spelled[1], legible, strict=True)],
            "distance": [d if d >= 0 else None for d in self.distance.tolist()],
            "wrong_cells": self.wrong_cells.sum(1).tolist(),
            "unreadable_cells": (~self.legible_cells).sum(1).tolist(),
            "least_confidence": self.confidence.amin(1).tolist(),
            **{kind: found.tolist() for kind, found in self.violations.items()},
        }
        return [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]

    def __repr__(self) -> str:
        n = len(self.words)
        return f"<Verdicts on {n:,} samples: grammatical, of the legible, {self.grammatical_rate}>"

    def _repr_html_(self) -> str:
        rates = {
            "legible": self.legible_rate,
            "grammatical, of the legible": self.grammatical_rate,
            **self.shares(),
        }
        rows = [{"": name, **rate.rows()[0]} for name, rate in rates.items()]
        return html_table(rows, f"Verdicts on {len(self.words):,} samples")

    def summary(self) -> dict[str, Any]:
        """Return rates, counts and chance lines."""
        return {
            "samples": len(self.words),
            **self.broken.summary(),
            "verdicts": self.shares(),
            "legible": self.legible_rate,
            "legible_cells": self.legible_cells_rate,
            "grammatical": self.grammatical_rate,
            "recalled": self.recalled_rate,
            "valid": self.valid_rate,
            "chance": {
                "uniform": self.uniform_rate,
                "product": self.product_rate,
                "ideal": 1.0,
            },
            "violations": self.violation_rates(),
        }


def judge(dataset: SymbolImages, images: Images, stream: Stream | None = None) -> Verdicts:
    """Read samples and judge the words.

    Args:
        dataset: Whose glyphs and grammar to judge by.
        images: N samples, as `as_pictures` takes them.
        stream: Whose training set, if it is finite, counts as memorised.

    Raises:
        UsageError: If there are no images, or they do not fit the dataset.
    """
    pictures = as_pictures(images, dataset).images
    if len(pictures) == 0:
        raise UsageError("there are no samples to judge")
    words, confidence = dataset.recognise(pictures)
    legible_cells = confidence >= LEGIBLE
    legible = legible_cells.all(1)
    kinds = dataset.grammar.violations(words)
    wrong = torch.zeros_like(legible)
    for found in kinds.values():
        wrong = wrong | found
    invalid, grammatical = legible & wrong, legible & ~wrong
    nearest = words.clone()
    nearest[invalid] = dataset.grammar.nearest(words[invalid])
    distance = (nearest != words).sum(1)
    memorised = torch.zeros_like(legible)
    if stream is not None:
        memorised[grammatical] = stream.is_training(words[grammatical])
    return Verdicts(
        words=words,
        confidence=confidence,
        legible_cells=legible_cells,
        legible=legible,
        broken=Broken.of(pictures),
        grammatical=grammatical,
        memorised=memorised,
        violations={kind: found & legible for kind, found in kinds.items()},
        nearest=nearest,
        distance=torch.where(legible, distance, -1),
        uniform_rate=dataset.grammar.uniform_rate(),
        product_rate=dataset.grammar.product_rate(),
    )
