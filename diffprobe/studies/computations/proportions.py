"""Two families of facts, trained on in other proportions than they are asked for."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computation, Computed

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.grammars.facts import FactsConfig

LENGTH, KEY = 12, 7
FAMILIES = ("common", "rare")


@dataclass(frozen=True)
class Proportions(Computation):
    """What is not recalled of two families of facts, weighted as a test asks for them.

    A test asks for the first family with probability `common`, p, and within a family for the i-th
    of its facts in proportion to i^-popularity. Training has shares in proportion to p^tau: 1 are
    the test's own, 0 are alike. It draws `samples` words once, or with 0 anew at every step. A
    residual MLP of `width` learns them, keys given, in `steps`.

    `error` is the probability that the value asked for is not recalled, and `common` and `rare`
    those of a family. `optimum` is the error of who recalls all that was drawn, and `expected` its
    mean over draws, which is exact. `share` is that of the first family in training, and `proposed`
    the best one by the law of proportions, fitted to the expected errors of families after few
    samples and many; none where words are drawn anew.
    """

    name: ClassVar[str] = "proportions"
    measures: ClassVar[tuple[str, ...]] = (
        "error",
        "common",
        "rare",
        "optimum",
        "expected",
        "share",
        "proposed",
    )
    tau: float = 1.0
    common: float = 0.9
    popularity: float = 1.0
    facts: int = 32
    samples: int = 500
    steps: int = 2000
    batch_size: int = 128
    width: int = 64

    def __post_init__(self) -> None:
        check_positive(
            facts=self.facts, steps=self.steps, batch_size=self.batch_size, width=self.width
        )
        if not 0 < self.common < 1:
            raise UsageError(f"common must lie between 0 and 1, not {self.common}")
        if self.samples < 0:
            raise UsageError(f"samples must not be negative, but {self.samples}")

    @property
    def shares(self) -> tuple[float, float]:
        """Of the families in training."""
        common, rare = self.common**self.tau, (1 - self.common) ** self.tau
        return common / (common + rare), rare / (common + rare)

    @property
    def drawn(self) -> int:
        """How many words training draws."""
        return self.samples or self.steps * self.batch_size

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed; see `Computation.compute`."""
        return [self._of_seed(seed, device) for seed in progress(seeds, desc="seeds", unit="seed")]

    def _of_seed(self, seed: int, device: str) -> Computed:
        from diffprobe.foundations.seeding import generator

        families = self.families(seed)
        p, q = (self.common, 1 - self.common), self.shares
        drawn = [
            family.build().sample(round(share * self.drawn), generator(seed, f"{name} facts"))
            for name, family, share in zip(FAMILIES, families, q, strict=True)
        ]
        known = self._known(seed, families, drawn, device)
        errors = [
            1 - float(family.probabilities @ told)
            for family, told in zip(families, known, strict=True)
        ]
        unseen = [missed(family, words) for family, words in zip(families, drawn, strict=True)]
        expected = [_expected(f, share * self.drawn) for f, share in zip(families, q, strict=True)]
        return {
            "error": p[0] * errors[0] + p[1] * errors[1],
            "common": errors[0],
            "rare": errors[1],
            "optimum": p[0] * unseen[0] + p[1] * unseen[1],
            "expected": p[0] * expected[0] + p[1] * expected[1],
            "share": q[0],
            "proposed": self._proposed(families),
        }

    def families(self, seed: int) -> "tuple[FactsConfig, FactsConfig]":
        """Return the families: keys of one begin with 0, of the other with 1."""
        from diffprobe.datasets.grammars.facts import FactsConfig

        # Of other seeds, or facts of the two would differ in their first cell alone.
        first, second = (
            FactsConfig(LENGTH, KEY, 2, self.facts, (symbol,), self.popularity, 2 * seed + symbol)
            for symbol in (0, 1)
        )
        return first, second

    def _known(
        self,
        seed: int,
        families: "Sequence[FactsConfig]",
        drawn: "Sequence[Tensor]",
        device: str,
    ) -> "tuple[Tensor, ...]":
        """How often the network that is trained on these words recalls each fact of a family."""
        from diffprobe.config import from_settings
        from diffprobe.foundations.devices import resolve_device
        from diffprobe.models import load_denoiser
        from diffprobe.probes.recall.asking import measure
        from diffprobe.training import train

        config = from_settings(self._settings(families, drawn)).with_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            run = train(config, Path(folder) / "run", device, silent)
            denoiser = load_denoiser(run.checkpoint_path(self.steps), device=resolve_device(device))
            found = measure(denoiser, config.dataset())
        known: tuple[Tensor, ...] = found.known.split(self.facts)
        return known

    def _settings(
        self, families: "Sequence[FactsConfig]", drawn: "Sequence[Tensor]"
    ) -> Mapping[str, Any]:
        from diffprobe.foundations.settings import to_settings

        tables = [to_settings(family) for family in families]
        lists = [listed(words) for words in drawn] if self.samples else tables
        p = (self.common, 1 - self.common)
        return {
            "grammar": {"name": "mixture", "components": _components(p, tables)},
            "stream": {"name": "mixture", "components": _components(self.shares, lists)},
            **self.training(1),
        }

    def training(self, parts: int) -> dict[str, Any]:
        """Return settings of the network and its training on words of so many facts."""
        return {
            "images": {"name": "pixels", "grid": [1, parts * LENGTH]},
            "noise": {"prediction_type": "v_prediction"},
            "network": {
                "name": "residual-mlp",
                "width": self.width,
                "depth": 2,
                "levels_by_cell": True,
            },
            "objective": {"name": "given", "cells": parts * KEY, "share": 1.0},
            "averages": {},
            "training": {
                "steps": self.steps,
                "batch_size": self.batch_size,
                "checkpoints": 1,
                "log_every": self.steps,
                "validation_size": 32,
            },
        }

    def _proposed(self, families: "Sequence[FactsConfig]") -> float | None:
        if not self.samples:
            return None  # nothing of what is missed is left to a law
        from diffprobe.laws.falling_errors import Point
        from diffprobe.laws.proportions import propose

        points = [
            Point(name, n, _expected(family, n))
            for name, family in zip(FAMILIES, families, strict=True)
            for n in (self.drawn / 2**k for k in range(6))
        ]
        test = dict(zip(FAMILIES, (self.common, 1 - self.common), strict=True))
        return propose(points, test, self.drawn).shares[FAMILIES[0]].value


def _components(shares: Sequence[float], grammars: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"share": share, "grammar": grammar}
        for share, grammar in zip(shares, grammars, strict=True)
    ]


def listed(words: "Tensor") -> dict[str, Any]:
    """Settings of a list of the words that were drawn, as often as they were."""
    distinct, counts = words.unique(dim=0, return_counts=True)
    lines = [
        "".join(map(str, word)) + f"\t{count}"
        for word, count in zip(distinct.tolist(), counts.tolist(), strict=True)
    ]
    return {"name": "word-list", "words": "\n".join(lines), "symbols": "01"}


def missed(family: "FactsConfig", words: "Tensor") -> float:
    """The probability of the facts that were not drawn."""
    seen = (family.words[:, None] == words.unique(dim=0)[None]).all(-1).any(1)
    return float(family.probabilities[~seen].sum())


def _expected(family: "FactsConfig", n: float) -> float:
    """The same in expectation over draws of n words."""
    p = family.probabilities
    return float((p * (1 - p) ** n).sum())
