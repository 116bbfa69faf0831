"""Rates, areas, and distances of words from a language: samples of known populations."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # where populations are listed

from populations import all_words, estimates, tilted, truths
from score_populations import POPULATIONS

from coverage_parts.table import Row
from diffprobe.datasets import Glyphs, Grammar, SymbolImages, WordList
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation.words import distribution
from diffprobe.evaluation.words.estimators import total_variation
from diffprobe.evaluation.words.pairs import cramers_v
from diffprobe.foundations.ranks import auroc
from diffprobe.foundations.statistics import clustered, difference, paired_difference, wilson

REPEATS = 2000
MEASURED = 500  # of whole distributions

Hits = Iterator[tuple[str, bool]]


def rows(scale: float) -> Iterator[Row]:
    """Yield the rows of rates, areas, pairs of cells and whole distributions of words."""
    random = torch.Generator().manual_seed(0)
    for source, repeats in ((rates, REPEATS), (areas, MEASURED), (pairs, REPEATS)):
        hits: dict[str, list[bool]] = {}
        for _ in range(max(1, int(scale * repeats))):
            for name, hit in source(random):
                hits.setdefault(name, []).append(hit)
        for name, found in hits.items():
            yield Row.counted("samples", name, sum(found), len(found))
    # What simulates the plug-in's floor takes most of the time, and has no interval.
    distribution._with_plug_in = lambda found, *_: found
    for grammar in (
        ParityConfig(6).build(),
        DyckConfig(8, 1).build(),
        ModularSumConfig(3, 4, 4).build(),
    ):
        for population in ("language", "product", "tilted"):
            for n in (200, 1000):
                yield from distributions(grammar, population, n, max(1, int(scale * MEASURED)))


def rates(random: torch.Generator) -> Hits:
    """Shares, and differences of independent and of paired shares."""
    for n in (100, 1000):
        for p, q in ((0.5, 0.6), (0.9, 0.95), (0.05, 0.05)):
            u, v, w = torch.rand(3, n, generator=random)
            first = u < p
            together = torch.where(torch.rand(n, generator=random) < 0.5, u, v) < q
            rate, other = (wilson(int(x.sum()), n) for x in (first, w < q))
            where = f"n = {n}, {p} and {q}"
            yield f"rate, {where}", rate.contains(p)
            yield f"difference, {where}", difference(rate, other).contains(p - q)
            paired = paired_difference(first, together)
            yield f"paired difference, {where}", paired.contains(p - q)


def areas(random: torch.Generator) -> Hits:
    """Areas under the ROC curve, and rates of cells, which come several in a sample."""
    for name, (first, second, area) in POPULATIONS.items():
        for m, n in ((20, 50), (40, 80), (300, 700)):
            scores = torch.cat([first(m, random), second(n, random)])
            found = auroc(scores, torch.arange(m + n) < m)
            if found.value is not None:
                yield f"AUROC, {name}, {m}/{n}", found.low <= area <= found.high
    for n in (100, 1000):
        # Cells of one sample are alike: each sample has a rate of its own, 3/4 on average.
        own = torch.rand(n, 1, generator=random) ** (1 / 3)
        counts = (torch.rand(n, 8, generator=random) < own).sum(1)
        yield f"rate of cells, {n} samples", clustered(counts, torch.full((n,), 8)).contains(0.75)


def pairs(random: torch.Generator) -> Hits:
    """Cramér's V of two cells, and the total variation's bound."""
    joint = torch.tensor([[0.25, 0.05, 0.1], [0.05, 0.2, 0.05], [0.1, 0.05, 0.15]]).double()
    flat = joint.flatten()
    phi_square = float((joint.square() / torch.outer(joint.sum(1), joint.sum(0))).sum()) - 1
    q = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2, 0, 0, 0, 0], dtype=torch.float64)
    for n in (200, 1000):
        index = flat.multinomial(n, replacement=True, generator=random)
        one_hot = torch.nn.functional.one_hot(torch.stack([index // 3, index % 3], 1), 3).double()
        observed = torch.einsum("nia,njb->iajb", one_hot, one_hot) / n
        _, low, high = cramers_v(observed, n)
        truth = math.sqrt(phi_square / 2)
        yield f"Cramér's V, n = {n}", bool(low[0, 1] <= truth <= high[0, 1])
        halves = torch.stack([torch.bincount(half, minlength=9) for half in index.chunk(2)])
        for name, reference in (("elsewhere", q), ("the truth", flat)):
            chosen = (halves[0] / halves[0].sum() > reference) | (reference == 0)
            bound = float((flat - reference)[chosen].sum())
            covered = total_variation(halves, reference).contains(bound)
            yield f"total variation's bound to {name}, n = {n}", covered


def distributions(grammar: Grammar, population: str, n: int, repeats: int) -> Iterator[Row]:
    """Distances of n words, drawn from a population, from the language."""
    words = all_words(grammar)
    listed = WordList(grammar.words(), grammar.symbols)  # the same language, sooner computed
    names = "0123456789"[: grammar.symbols]
    dataset = SymbolImages(listed, Glyphs.font(names), (1, grammar.length))
    p = grammar.probability(words)
    if population == "tilted":
        p = tilted(grammar, words)
    elif population == "product":
        p = grammar.symbol_marginals()[torch.arange(grammar.length), words].prod(1)
    truth = truths(grammar, words, p)
    covered, told = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for seed in range(repeats):
        random = torch.Generator().manual_seed(seed)
        drawn = words[p.multinomial(n, replacement=True, generator=random)]
        found = estimates(distribution.measure(dataset, drawn, seed=seed))
        for name, value in truth.items():
            if found[name].value is not None:
                told[name] += 1
                covered[name] += found[name].low - 1e-9 <= value <= found[name].high + 1e-9
    where = f"{grammar.title} {grammar.length}, {population}"
    for name, count in told.items():
        yield Row.counted(where, f"{name}, n = {n}", covered[name], count, repeats)
