"""Do the words in samples follow the language's distribution: symbols, pairs, whole words?

A network of independent cells matches every marginal and no correlation; one that learned the
grammar of neighbours matches the pairs and not the words; one that recalls its training set may
match both and cover little of the language. What samples have is stated beside what the language
has, which is computed exactly, and beside the noise floor: what chance alone shows in n samples.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.datasets import Grammar, Stream, SymbolImages
from diffprobe.evaluation.words import walsh
from diffprobe.evaluation.words.coverage import Coverage, coverage
from diffprobe.evaluation.words.divergence import (
    LISTED,
    Divergence,
    distinct,
    to_language,
    to_product,
)
from diffprobe.evaluation.words.estimators import (
    WordStatistic,
    effective_words,
    relative_entropy,
    spread,
    squared_distance,
)
from diffprobe.evaluation.words.pairs import (
    captured,
    cramers_v,
    diagonal,
    independence_floor,
    indicators,
    pair_difference,
    phi_square,
)
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import wilson
from diffprobe.foundations.tables import Table

FEWEST = 50  # words without which no distribution is measured
PAIRED = 1024  # samples whose pairs tell the spread


@dataclass(frozen=True)
class Shares(Table):
    """How often each symbol fills each cell.

    Attributes:
        observed: (L, V).
        low, high: (L, V), the 95 % Wilson intervals.
        language: (L, V), exact.
        difference: Root-mean-square difference between a symbol's share and the language's, over
            all cells and symbols.
    """

    observed: Tensor
    low: Tensor
    high: Tensor
    language: Tensor
    difference: WordStatistic

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each cell and symbol."""
        return _rows(self, self.observed.isfinite(), ("cell", "symbol"))


@dataclass(frozen=True)
class Correlations(Table):
    """How much the symbols of two cells tell of each other.

    Attributes:
        observed: (L, L) Cramér's V = sqrt(chi² / n / (V - 1)), corrected for its bias; 0 where
            chance explains it, 1 on the diagonal.
        low, high: (L, L), its 95 % interval.
        language: (L, L), exact.
        floor: (L, L), what 97.5 % of n words of independent cells stay below.
        difference: Root-mean-square difference of the joint share of two symbols in two cells from
            the language's, over all pairs.
        captured: Coefficient of regression of the samples' covariances of symbols on the
            language's: 0 for independent cells, 1 for the language. Without a value where the
            language's cells are independent in pairs.
    """

    observed: Tensor
    low: Tensor
    high: Tensor
    language: Tensor
    floor: Tensor
    difference: WordStatistic
    captured: WordStatistic

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each pair of cells."""
        every = torch.ones_like(self.observed, dtype=torch.bool)
        return _rows(self, every.triu(1), ("cell", "other"))


@dataclass(frozen=True, repr=False)
class Distribution(Table):
    """The words of n samples beside their language.

    Attributes:
        n: Words.
        shares: Of symbols in cells.
        correlations: Of pairs of cells.
        language: Distance to the language.
        product: Distance to the product of the language's marginals: the local generator.
        entropy: Of the valid words, in nats.
        effective_words: Equally likely words that would repeat as often as the valid ones do.
        coverage: Of all valid words; None for a weighted language too large to list.
        held_out: Of the valid words that are not in the training set; None without one.
        walsh: By order of interaction; None unless there are two symbols.
    """

    n: int
    shares: Shares
    correlations: Correlations
    language: Divergence
    product: Divergence
    entropy: WordStatistic
    effective_words: WordStatistic
    coverage: Coverage | None
    held_out: Coverage | None
    walsh: walsh.Spectrum | None

    def summary(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; matrices to five decimals."""
        return {
            "n": self.n,
            "shares": _rounded(self.shares),
            "correlations": _rounded(self.correlations),
            "language": vars(self.language),
            "product": vars(self.product),
            "entropy": self.entropy,
            "effective_words": self.effective_words,
            "coverage": self.coverage,
            "held_out": self.held_out,
            "walsh": self.walsh.summary() if self.walsh else None,
        }

    def statistics(self) -> dict[str, WordStatistic]:
        """Return the headline numbers by what they are."""
        found = {
            "symbols differ from their shares by": self.shares.difference,
            "pairs differ from theirs by": self.correlations.difference,
        }
        if self.correlations.captured.value is not None:
            found["pairwise correlations captured"] = self.correlations.captured
        for name, each in (("language", self.language), ("product of marginals", self.product)):
            found[f"total variation to the {name}, at least"] = each.total_variation
            found[f"KL to the {name}, of what it can give, nats"] = each.kl
        found["entropy of the valid words, nats"] = self.entropy
        found["effective number of words"] = self.effective_words
        if self.walsh:
            found["parity of all cells"] = self.walsh.parity
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each headline number."""
        return [{"statistic": name, **each.rows()[0]} for name, each in self.statistics().items()]

    def lines(self) -> list[str]:
        """Return the headline in words, every number with its interval, n and noise floor."""
        found = [
            f"{name}{'' if name.endswith(' by') else ':'} {each}"
            for name, each in self.statistics().items()
        ]
        if self.coverage:
            found.append(f"valid words seen: {self.coverage}")
        if self.held_out:
            found.append(f"held-out words seen: {self.held_out}")
        return found

    def __repr__(self) -> str:
        return f"<Distribution of {self.n:,} words>"


def measure(
    dataset: SymbolImages, words: Tensor, stream: Stream | None = None, seed: int = 0
) -> Distribution:
    """Compare words with their language.

    Args:
        dataset: Whose grammar is the truth.
        words: (n, L) long, one for each legible sample, valid or not, independent of each other.
        stream: Its training set, for the coverage of what is held out.
        seed: Of the halves and of the words drawn to learn noise floors.

    Raises:
        UsageError: If there are fewer than 50 words, or they do not fit the grammar.
    """
    grammar = dataset.grammar
    grammar.check_words(words)
    if len(words) < FEWEST:
        raise UsageError(
            f"the distribution of {len(words)} legible words says nothing; "
            f"at least {FEWEST} are needed"
        )
    words = words.cpu()
    exact = grammar.sample(PAIRED, generator(seed, "distribution/exact"))
    joint = pair_marginals(grammar)
    shares, correlations = _shares_and_correlations(words, joint, exact)
    # Halves at random: samples of a batch may be in order.
    order = torch.randperm(len(words), generator=generator(seed, "distribution/halves"))
    unique, index = distinct(words[order], grammar.symbols)
    size = len(words) // 2 * 2
    halves = torch.stack(
        [torch.bincount(half, minlength=len(unique)) for half in index[:size].chunk(2)]
    )
    counts = torch.bincount(index)
    probability = grammar.probability(unique)
    listed = grammar.words() if grammar.count() <= LISTED else None
    valid = probability > 0
    collision, third = grammar.collision_probability(2), grammar.collision_probability(3)
    every, held_out = coverage(grammar, unique[valid], counts[valid], listed, stream)
    return Distribution(
        n=len(words),
        shares=shares,
        correlations=correlations,
        language=to_language(grammar, halves, counts, probability, listed, seed),
        product=to_product(grammar, unique, halves, counts, listed, seed),
        entropy=_entropy(grammar, counts[valid]),
        effective_words=effective_words(counts[valid], grammar.count(), collision, third),
        coverage=every,
        held_out=held_out,
        walsh=walsh.measure(grammar, words, seed) if grammar.symbols == 2 else None,
    )


def pair_marginals(grammar: Grammar) -> Tensor:
    """Return P(symbol a in cell i and b in cell j), exact: (L, V, L, V) float64.

    Each cell is clamped to each symbol, and the marginals of the others follow.
    """
    length, symbols = grammar.length, grammar.symbols
    shares = grammar.symbol_marginals()
    joint = torch.zeros(length, symbols, length, symbols, dtype=torch.float64)
    cells, clamped = (shares > 0).nonzero(as_tuple=True)
    scores = torch.zeros(len(cells), length, symbols, dtype=torch.float64)
    rows = torch.arange(len(cells))
    scores[rows, cells] = -math.inf
    scores[rows, cells, clamped] = 0.0
    given = grammar.marginals(scores)
    joint[cells, clamped] = shares[cells, clamped, None, None] * given
    return joint


def _shares_and_correlations(
    words: Tensor, language: Tensor, exact: Tensor
) -> tuple[Shares, Correlations]:
    n, length = words.shape
    symbols = language.shape[1]
    one_hot = indicators(words, symbols)
    observed = rearrange(
        (one_hot.T @ one_hot).double() / n, "(i a) (j b) -> i a j b", i=length, j=length
    )
    p, q = diagonal(observed), diagonal(language)
    intervals = [[wilson(round(n * float(s)), n) for s in row] for row in p]
    agree = one_hot[:PAIRED] @ one_hot[:PAIRED].T
    sampled = indicators(exact, symbols)
    agree_exact = sampled @ sampled.T

    offset = (p - q).flatten()
    entries = length * symbols
    by_cell = squared_distance(
        (one_hot.double() @ offset - q.flatten() @ offset) / entries,
        float(length - 2 * (p * q).sum() + q.square().sum()) / entries,
        spread(agree) / entries**2,
        0.0,
        spread(agree_exact) / entries**2,
    )
    shares = Shares(
        observed=p,
        low=torch.tensor([[r.low for r in row] for row in intervals], dtype=torch.float64),
        high=torch.tensor([[r.high for r in row] for row in intervals], dtype=torch.float64),
        language=q,
        difference=by_cell.root(),
    )
    return shares, Correlations(
        *cramers_v(observed, n),
        language=phi_square(language).div(max(1, symbols - 1)).clamp(min=0).sqrt(),
        floor=independence_floor(observed, n),
        difference=pair_difference(one_hot, observed, language, agree, agree_exact),
        captured=captured(one_hot, observed, language),
    )


def _entropy(grammar: Grammar, counts: Tensor) -> WordStatistic:
    """Less than the most there can be, by the KL to equally likely valid words."""
    most, truth = math.log(grammar.count()), grammar.entropy()
    uniform = torch.full(counts.shape, -most, dtype=torch.float64)
    found = relative_entropy(counts, uniform, most - truth, grammar.count())
    return WordStatistic(
        value=None if found.value is None else most - found.value,
        low=max(0.0, most - found.high),
        high=most - found.low,
        n=found.n,
        language=truth,
        floor=found.floor and (truth + found.floor[0], truth + found.floor[1]),
    )


def _rounded(part: Any) -> dict[str, Any]:
    return {
        name: value.round(decimals=5) if isinstance(value, Tensor) else value
        for name, value in vars(part).items()
    }


def _rows(part: Any, chosen: Tensor, axes: tuple[str, str]) -> list[dict[str, Any]]:
    """A row for each chosen place of matrices of one shape, with what each has there."""
    matrices = {k: v for k, v in vars(part).items() if isinstance(v, Tensor)}
    return [
        {
            **dict(zip(axes, place, strict=True)),
            **{k: float(v[tuple(place)]) for k, v in matrices.items()},
        }
        for place in chosen.nonzero().tolist()
    ]
