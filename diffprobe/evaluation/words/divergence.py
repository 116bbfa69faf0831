"""How far words are from a reference: total variation and relative entropy.

The references are the language, and the product of its marginals: what a generator of independent
symbols draws, each as often as it should be.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffprobe.datasets import Grammar
from diffprobe.evaluation.words.estimators import (
    WordStatistic,
    relative_entropy,
    total_variation,
)
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Z95, Rate, wilson

LISTED = 2**16  # words up to which a reference is listed
SIMULATED = 400_000  # words drawn to learn the noise floor of a plug-in, in 8 to 40 sets


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
    total_variation: WordStatistic
    plug_in: float | None
    split_half: float
    plug_in_floor: tuple[float, float, float] | None
    kl: WordStatistic
    language: float | None


def to_language(
    grammar: Grammar,
    halves: Tensor,
    counts: Tensor,
    probability: Tensor,
    listed: Tensor | None,
    seed: int,
) -> Divergence:
    """Measure how far words are from their language.

    Args:
        grammar: The language.
        halves: (2, D) counts of each distinct word in two halves of the words.
        counts: (D,) in all of them.
        probability: (D,) of each distinct word in the language.
        listed: All valid words; None if they are too many.
        seed: Of the words drawn to learn the noise floor.
    """
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


def to_product(
    grammar: Grammar,
    unique: Tensor,
    halves: Tensor,
    counts: Tensor,
    listed: Tensor | None,
    seed: int,
) -> Divergence:
    """Measure how far words are from the product of their language's marginals.

    Args:
        grammar: The language.
        unique: (D, L), the distinct words.
        halves, counts, listed, seed: As for `to_language`.
    """
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
        words, index = distinct(draw(n, generator(seed, "distribution/floor", step)), symbols)
        sets.append(_plug_in(torch.bincount(index), probability(words)))
    drawn = torch.tensor(sets, dtype=torch.float64)
    mean, edge = float(drawn.mean()), Z95 * float(drawn.std())
    return replace(
        found,
        plug_in=_plug_in(counts, reference),
        plug_in_floor=(mean, max(0.0, mean - edge), min(1.0, mean + edge)),
    )


def distinct(words: Tensor, symbols: int) -> tuple[Tensor, Tensor]:
    """Return the distinct words (D, L), and which of them each word is (n,)."""
    length = words.shape[1]
    if symbols**length >= 2**62:
        unique, index = words.unique(dim=0, return_inverse=True)
        return unique, index
    # As whole numbers they are told apart many times sooner.
    places = symbols ** torch.arange(length)
    numbers, index = (words * places).sum(1).unique(return_inverse=True)
    return numbers[:, None] // places % symbols, index


def counted(words: Tensor, symbols: int) -> tuple[Tensor, Tensor]:
    """Return the distinct words (D, L) in order, and how often each is there (D,)."""
    backwards, index = distinct(words.flip(1), symbols)
    return backwards.flip(1), index.bincount(minlength=len(backwards))


def _plug_in(counts: Tensor, reference: Tensor) -> float:
    return 1 - float(torch.minimum(counts.double() / counts.sum(), reference).sum())
