"""Do the words in samples follow the language's distribution: symbols, pairs, whole words?

A network of independent cells matches every marginal and no correlation; one that learned the
grammar of neighbours matches the pairs and not the words; one that recalls its training set may
match both and cover little of the language. What samples have is stated beside what the language
has, which is computed exactly, and beside the noise floor: what chance alone shows in n samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.datasets import Grammar, Stream, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Z95, Rate, wilson
from diffprobe.report import walsh
from diffprobe.report.estimators import (
    Estimate,
    digits,
    effective_words,
    expected_distinct,
    relative_entropy,
    spread,
    squared_distance,
    total_variation,
)
from diffprobe.report.pairs import (
    captured,
    cramers_v,
    diagonal,
    independence_floor,
    indicators,
    pair_difference,
    phi_square,
)

FEWEST = 50  # words without which no distribution is measured
PAIRED = 1024  # samples whose pairs tell the spread
LISTED = 2**16  # words up to which the language is listed
SIMULATED = 400_000  # words drawn to learn the noise floor of a plug-in, in 8 to 40 sets


@dataclass(frozen=True)
class Shares:
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
    difference: Estimate


@dataclass(frozen=True)
class Correlations:
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
    difference: Estimate
    captured: Estimate


@dataclass(frozen=True)
class Divergence:
    """How far the words are from a reference distribution q.

    Attributes:
        possible: Share of the words that q can give at all.
        total_variation: Bounded from below; see `estimators.total_variation`.
        plug_in: Total variation between the n words and q, which is biased upwards; None where the
            language is too large to list.
        split_half: Total variation between two halves of the samples.
        plug_in_floor: Mean and central 95 % of `plug_in` for n words of q.
        kl: KL(words ‖ q) among the possible words, in nats.
        language: TV(language, q); None where the language is too large to list.
    """

    possible: Rate
    total_variation: Estimate
    plug_in: float | None
    split_half: float
    plug_in_floor: tuple[float, float, float] | None
    kl: Estimate
    language: float | None


@dataclass(frozen=True)
class Coverage:
    """How many distinct words appear, against what exact sampling would show.

    Attributes:
        seen: Distinct words in the samples.
        words: Those there are.
        n: Valid samples.
        expected: Mean for n exact samples of the language.
        low, high: Central 95 % of the same.
    """

    seen: int
    words: int
    n: int
    expected: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.seen:,} of {digits(self.words)} words in {self.n:,} valid samples; exact "
            f"sampling would show {self.expected:,.1f} ({self.low:,.0f} to {self.high:,.0f})"
        )


@dataclass(frozen=True)
class Distribution:
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
    entropy: Estimate
    effective_words: Estimate
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
            "walsh": walsh.summary(self.walsh) if self.walsh else None,
        }

    def lines(self) -> list[str]:
        """Return the headline in words, every number with its interval, n and noise floor."""
        found = [
            f"symbols differ from their shares by {self.shares.difference}",
            f"pairs differ from theirs by {self.correlations.difference}",
        ]
        if self.correlations.captured.value is not None:
            found.append(f"pairwise correlations captured: {self.correlations.captured}")
        for name, each in (("language", self.language), ("product of marginals", self.product)):
            found.append(f"total variation to the {name}, at least: {each.total_variation}")
            found.append(f"KL to the {name}, of what it can give, nats: {each.kl}")
        found.append(f"entropy of the valid words, nats: {self.entropy}")
        found.append(f"effective number of words: {self.effective_words}")
        if self.coverage:
            found.append(f"valid words seen: {self.coverage}")
        if self.held_out:
            found.append(f"held-out words seen: {self.held_out}")
        if self.walsh:
            found.append(f"parity of all cells: {self.walsh.parity}")
        return found


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
    unique, index = _distinct(words[order], grammar.symbols)
    size = len(words) // 2 * 2
    halves = torch.stack(
        [torch.bincount(half, minlength=len(unique)) for half in index[:size].chunk(2)]
    )
    counts = torch.bincount(index)
    probability = grammar.probability(unique)
    listed = grammar.words() if grammar.count() <= LISTED else None
    valid = probability > 0
    collision, third = grammar.collision_probability(2), grammar.collision_probability(3)
    coverage, held_out = _coverage(grammar, unique[valid], counts[valid], listed, stream)
    return Distribution(
        n=len(words),
        shares=shares,
        correlations=correlations,
        language=_to_language(grammar, halves, counts, probability, listed, seed),
        product=_to_product(grammar, unique, halves, counts, listed, seed),
        entropy=_entropy(grammar, counts[valid]),
        effective_words=effective_words(counts[valid], grammar.count(), collision, third),
        coverage=coverage,
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


def _to_language(
    grammar: Grammar,
    halves: Tensor,
    counts: Tensor,
    probability: Tensor,
    listed: Tensor | None,
    seed: int,
) -> Divergence:
    found = _divergence(
        halves,
        counts,
        probability,
        total=0.0,
        kl=0.0,
        support=grammar.count() if listed is not None else None,
    )
    if listed is None:
        return found
    weights = grammar.probability(listed)

    def draw(n: int, random: torch.Generator) -> Tensor:
        return listed[weights.multinomial(n, replacement=True, generator=random)]

    return _with_plug_in(
        found, counts, probability, draw, grammar.probability, grammar.symbols, seed
    )


def _to_product(
    grammar: Grammar,
    unique: Tensor,
    halves: Tensor,
    counts: Tensor,
    listed: Tensor | None,
    seed: int,
) -> Divergence:
    shares = grammar.symbol_marginals()

    def probability(words: Tensor) -> Tensor:
        return shares[torch.arange(grammar.length), words].prod(1)

    def draw(n: int, random: torch.Generator) -> Tensor:
        return shares.multinomial(n, replacement=True, generator=random).T

    total = None
    if listed is not None:
        total = 1 - float(torch.minimum(grammar.probability(listed), probability(listed)).sum())
    support = math.prod((shares > 0).sum(1).tolist())
    reference = probability(unique)
    found = _divergence(
        halves,
        counts,
        reference,
        total=total,
        kl=grammar.total_correlation(),
        support=support if support <= LISTED else None,
    )
    if support > LISTED:
        return found
    return _with_plug_in(found, counts, reference, draw, probability, grammar.symbols, seed)


def _divergence(
    halves: Tensor,
    counts: Tensor,
    reference: Tensor,
    *,
    total: float | None,
    kl: float,
    support: int | None,
) -> Divergence:
    possible = reference > 0
    sizes = halves.sum(1, keepdim=True)
    return Divergence(
        possible=wilson(int(counts[possible].sum()), int(counts.sum())),
        total_variation=total_variation(halves, reference),
        plug_in=None,
        split_half=float((halves[0] / sizes[0] - halves[1] / sizes[1]).abs().sum() / 2),
        plug_in_floor=None,
        kl=relative_entropy(counts[possible], reference[possible].log(), kl, support),
        language=total,
    )


def _with_plug_in(
    found: Divergence,
    counts: Tensor,
    reference: Tensor,
    draw: Callable[[int, torch.Generator], Tensor],
    probability: Callable[[Tensor], Tensor],
    symbols: int,
    seed: int,
) -> Divergence:
    n = int(counts.sum())
    sets = []
    for step in range(max(8, min(40, SIMULATED // n))):
        words, index = _distinct(draw(n, generator(seed, "distribution/floor", step)), symbols)
        sets.append(_plug_in(torch.bincount(index), probability(words)))
    drawn = torch.tensor(sets, dtype=torch.float64)
    mean, edge = float(drawn.mean()), Z95 * float(drawn.std())
    return replace(
        found,
        plug_in=_plug_in(counts, reference),
        plug_in_floor=(mean, max(0.0, mean - edge), min(1.0, mean + edge)),
    )


def _distinct(words: Tensor, symbols: int) -> tuple[Tensor, Tensor]:
    """The distinct words (D, L), and which of them each word is (n,)."""
    length = words.shape[1]
    if symbols**length >= 2**62:
        unique, index = words.unique(dim=0, return_inverse=True)
        return unique, index
    # As whole numbers they are told apart many times sooner.
    places = symbols ** torch.arange(length)
    numbers, index = (words * places).sum(1).unique(return_inverse=True)
    return numbers[:, None] // places % symbols, index


def _plug_in(counts: Tensor, reference: Tensor) -> float:
    return 1 - float(torch.minimum(counts.double() / counts.sum(), reference).sum())


def _entropy(grammar: Grammar, counts: Tensor) -> Estimate:
    """Less than the most there can be, by the KL to equally likely valid words."""
    most, truth = math.log(grammar.count()), grammar.entropy()
    uniform = torch.full(counts.shape, -most, dtype=torch.float64)
    found = relative_entropy(counts, uniform, most - truth, grammar.count())
    return Estimate(
        None if found.value is None else most - found.value,
        max(0.0, most - found.high),
        most - found.low,
        found.n,
        truth,
        found.floor and (truth + found.floor[0], truth + found.floor[1]),
    )


def _coverage(
    grammar: Grammar,
    seen: Tensor,
    counts: Tensor,
    listed: Tensor | None,
    stream: Stream | None,
) -> tuple[Coverage | None, Coverage | None]:
    """Of all valid words, and of those held out."""
    n, count = int(counts.sum()), grammar.count()
    training = None if stream is None else stream.training
    if not grammar.weighted:
        rates, sizes = torch.tensor([[1 / count], [count]], dtype=torch.float64)
        left = count - (0 if training is None else len(training))
        left_sizes = torch.tensor([left], dtype=torch.float64)
    elif listed is not None:
        rates, sizes = grammar.probability(listed), torch.ones(len(listed), dtype=torch.float64)
        left_sizes = sizes if stream is None else (~stream.is_training(listed)).double()
        left = int(left_sizes.sum())
    else:
        return None, None
    every = _cover(len(seen), count, n, rates, sizes)
    if stream is None or training is None:
        return every, None
    unknown = int((~stream.is_training(seen)).sum())
    return every, _cover(unknown, left, n, rates, left_sizes)


def _cover(seen: int, words: int, n: int, rates: Tensor, sizes: Tensor) -> Coverage:
    mean, deviation = expected_distinct(rates, sizes, n)
    low = max(0.0, math.floor(mean - Z95 * deviation))
    high = min(float(words), float(n), math.ceil(mean + Z95 * deviation))
    return Coverage(seen, words, n, mean, low, high)


def _rounded(part: Any) -> dict[str, Any]:
    return {
        name: value.round(decimals=5) if isinstance(value, Tensor) else value
        for name, value in vars(part).items()
    }


# ---- figures -------------------------------------------------------------------------------------
