"""Walsh spectrum of binary words: which orders of interaction the samples have.

With chi_S(w) = (−1)^(sum of w_i for i in S), the coefficient c(S) = E chi_S is the parity of the
cells in S: order 1 are the marginals, order 2 the pairwise correlations, and order L the parity of
the whole word. All c(S), |S| >= 1, are 0 for uniform random words, and a distribution on words is
determined by them. The energy of order k is the mean of c(S)² over the subsets of size k; of n
samples it is estimated without the 1/n that chance adds to a squared mean.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import Grammar
from diffprobe.evaluation.words.estimators import WordStatistic, spread, squared_distance
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import wilson
from diffprobe.foundations.tables import Table

FULL = 20  # cells up to which all subsets are transformed at once
SUBSETS = 256  # of each order, in longer words
PAIRED = 1024  # samples whose pairs tell the spread
LISTED = 2**16  # words up to which the language is listed


@dataclass(frozen=True)
class Spectrum(Table):
    """Energy by order of interaction, k = 1 … L.

    Attributes:
        energy: L estimates; the floor is that of uniform random words.
        subsets: Subsets of each order that the energy is the mean over: all of them up to 20 cells,
            and in longer words at most 256, drawn once.
        parity: The coefficient of all cells itself.
    """

    energy: tuple[WordStatistic, ...]
    subsets: tuple[int, ...]
    parity: WordStatistic

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each order of interaction: its energy."""
        return [
            {"order": k, "subsets": m, **energy.rows()[0]}
            for k, (m, energy) in enumerate(zip(self.subsets, self.energy, strict=True), start=1)
        ]

    def summary(self) -> dict[str, Any]:
        """Return the energies and the parity, as JSON can hold them."""
        pairs = zip(self.subsets, self.energy, strict=True)
        return {
            "orders": [
                {"order": k, "subsets": m, "energy": energy}
                for k, (m, energy) in enumerate(pairs, start=1)
            ],
            "parity": self.parity,
        }


def measure(grammar: Grammar, words: Tensor, seed: int = 0) -> Spectrum:
    """Estimate the Walsh spectrum of words of two symbols.

    Args:
        grammar: The language, whose own spectrum is computed exactly.
        words: (n, L) long.
        seed: Of the subsets drawn where there are too many.
    """
    length = words.shape[1]
    language: list[float]
    if length <= FULL:
        language, projections = _transformed(grammar, words)
        subsets = [math.comb(length, k) for k in range(1, length + 1)]
        grams = _krawtchouk_grams(words[:PAIRED])
    else:
        drawn = [_subsets(length, k, seed) for k in range(1, length + 1)]
        subsets = [len(masks) for masks in drawn]
        signs = [_signs(words, masks) for masks in drawn]
        projections = [s @ s.mean(0) / s.shape[1] for s in signs]
        grams = [s[:PAIRED] @ s[:PAIRED].T / s.shape[1] for s in signs]
        language = [float(_exact(grammar, masks).square().mean()) for masks in drawn]
    energy = tuple(
        squared_distance(each, 1.0, spread(gram), tau, 1 / m)
        for each, gram, tau, m in zip(projections, grams, language, subsets, strict=True)
    )
    return Spectrum(energy, tuple(subsets), _parity(grammar, words))


def transform(values: Tensor) -> Tensor:
    """Return sum_w values[w] chi_S(w) for every subset S, both as binary numbers: (2^L,).

    >>> transform(torch.tensor([1.0, 0, 0, 1])).tolist()
    [2.0, 0.0, 0.0, 2.0]
    """
    size = len(values)
    for width in (2**i for i in range(size.bit_length() - 1)):
        even, odd = values.reshape(-1, 2, width).unbind(1)
        values = torch.stack([even + odd, even - odd], 1)
    return values.reshape(size)


def _parity(grammar: Grammar, words: Tensor) -> WordStatistic:
    n, length = words.shape
    rate = wilson(int((words.sum(1) % 2 == 0).sum()), n)
    every = torch.ones(1, length, dtype=torch.long)
    chance = wilson(n // 2, n)
    return WordStatistic(
        value=2 * rate.count / n - 1,
        low=2 * rate.low - 1,
        high=2 * rate.high - 1,
        n=n,
        language=float(_exact(grammar, every)),
        floor=(2 * chance.low - 1, 1 - 2 * chance.low),
    )


def _transformed(grammar: Grammar, words: Tensor) -> tuple[list[float], list[Tensor]]:
    """The language's energy of each order, and each word's projection on the samples' mean."""
    n, length = words.shape
    numbers = _numbers(words)
    mean = transform(torch.bincount(numbers, minlength=2**length).double() / n)
    exact = _every(grammar)
    order = ((torch.arange(2**length)[:, None] >> torch.arange(length)) & 1).sum(1)
    language, projections = [], []
    for k in range(1, length + 1):
        chosen, m = order == k, math.comb(length, k)
        language.append(float(exact[chosen].square().mean()))
        projections.append(transform(torch.where(chosen, mean, 0.0))[numbers] / m)
    return language, projections


def _every(grammar: Grammar) -> Tensor:
    """The language's coefficient of every subset: (2^L,)."""
    length = grammar.length
    if grammar.count() <= LISTED:
        valid = grammar.words()
        values = torch.zeros(2**length, dtype=torch.float64)
        values[_numbers(valid)] = grammar.probability(valid)
        return transform(values)
    numbers = torch.arange(2**length)
    return _exact(grammar, (numbers[:, None] >> torch.arange(length).flip(0)) & 1)


def _exact(grammar: Grammar, masks: Tensor) -> Tensor:
    """The language's coefficients of the subsets `masks (S, L)`: (S,).

    The recursion of the grammar with real numbers: symbol 1 counts −1 in the cells of the subset.
    """
    # Halved, so that sums over 2^L words stay near 1.
    scores = torch.stack([torch.ones_like(masks), 1 - 2 * masks], -1).double() / 2
    total = grammar.inside(torch.full_like(scores[:1], 0.5), _RealSemiring())
    signed = [grammar.inside(chunk, _RealSemiring()) for chunk in grammar.chunks(scores)]
    return torch.cat(signed) / total


class _RealSemiring:
    """Plain sums and products, of either sign."""

    zero, one = 0.0, 1.0
    idempotent = False
    power: float | Tensor = 1.0

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def sum(self, x: Tensor, dim: int) -> Tensor:
        return x.sum(dim)

    def weigh(self, x: Tensor, log_weights: Tensor | None) -> Tensor:
        return x if log_weights is None else x * log_weights.to(x).exp()


def _numbers(words: Tensor) -> Tensor:
    """Words as binary numbers, the first cell the highest digit: (n,)."""
    return (words << torch.arange(words.shape[1]).flip(0)).sum(1)


def _subsets(length: int, k: int, seed: int) -> Tensor:
    """Masks of subsets of size k, all of them if they are few: (at most SUBSETS, L) long."""
    if math.comb(length, k) <= SUBSETS:
        chosen = torch.tensor(list(itertools.combinations(range(length), k)))
    else:
        random = generator(seed, "subsets", k)
        chosen = torch.rand(SUBSETS, length, generator=random).argsort(1)[:, :k]
    return torch.zeros(len(chosen), length, dtype=torch.long).scatter_(1, chosen, 1)


def _signs(words: Tensor, masks: Tensor) -> Tensor:
    """chi_S of each word: (n, S)."""
    return 1 - 2 * ((words.double() @ masks.T.double()) % 2)


def _krawtchouk_grams(words: Tensor) -> list[Tensor]:
    """For each order, the mean of chi_S(a) chi_S(b) over its subsets, for all pairs of words.

    It depends on the number of cells in which the words differ, through Krawtchouk polynomials.
    """
    length = words.shape[1]
    signs = 1 - 2 * words.double()
    differ = ((length - signs @ signs.T) / 2).round().long()
    table = torch.tensor(
        [
            [_krawtchouk(k, d, length) / math.comb(length, k) for d in range(length + 1)]
            for k in range(1, length + 1)
        ],
        dtype=torch.float64,
    )
    return [row[differ] for row in table]


def _krawtchouk(k: int, d: int, length: int) -> int:
    return sum((-1) ** j * math.comb(d, j) * math.comb(length - d, k - j) for j in range(k + 1))
