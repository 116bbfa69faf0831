"""The grammar contract: one recursion per engine, and everything that follows from it.

A grammar is a set of valid words of fixed length L over V symbols, with the uniform distribution
on it or, where words have weights, one in proportion to them. An engine implements `inside`, the
sum over valid words of the product of per-cell scores, for any semiring. Its log-space value is the
log-partition function

    log_partition(scores) = log sum over valid words w of weight(w) exp(sum_i scores[i, w_i]),

whose gradient is the posterior over symbols, whose max-plus value is the distance to the language,
whose remainders modulo primes are the exact count, and whose sampled gradient is a word. What is
asked of the set (the count, the distance, what is valid) takes each word once, whatever its weight.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from diffprobe.datasets.inference.semiring import (
    LOG_ZERO,
    AnyBestSemiring,
    LogSemiring,
    MaxSemiring,
    ModularSemiring,
    RealSemiring,
    SamplingSemiring,
    Semiring,
    from_remainders,
    primes_beyond,
)
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded

# Of the memory, what a batched recursion may hold at once, gradients included.
INSIDE = 1 / 8


class Naming(Protocol):
    """What a grammar's settings say of it: its name, and the names of what can be wrong."""

    name: ClassVar[str]

    def violations(self, words: Tensor) -> dict[str, Tensor] | None:
        """Return the named ways in which words are wrong, if there are names for them."""

    def conditions(self) -> dict[str, Tensor]:
        """Return named sets of cells that can be given."""


class Grammar(ABC):
    """A distribution on a set of valid words, `(L,)` long each, over symbols `0 … V-1`.

    Attributes:
        length: L, cells in a word.
        symbols: V, size of the alphabet.
        weighted: Whether words have weights; without, all are equally likely.
        kind: The settings it was built from, if any.
    """

    length: int
    symbols: int
    weighted: bool = False
    kind: "Naming | None" = None

    def __repr__(self) -> str:
        words = f"words of {self.length} cells over {self.symbols} symbols"
        return f"<{type(self).__name__} {self.title}: {words}>"

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return self.kind.name if self.kind is not None else type(self).__name__

    @abstractmethod
    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the semiring's sum over valid words of the product of `scores (B, L, V)`: (B,).

        Each word counts with its weight where the semiring has weights.
        """

    @property
    @abstractmethod
    def elements_per_row(self) -> int:
        """Numbers one row of a batch needs in `inside`; sets the chunk size."""

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return the named ways in which each word is wrong.

        A word is valid exactly where no kind is true. A grammar without names of its own tells
        how many substitutions away from the language a word is.

        Args:
            words: (N, L) long.

        Returns:
            Kind of violation -> (N,) bool; no kind where every word is valid.
        """
        self.check_words(words)
        named = self.kind.violations(words) if self.kind is not None else None
        if named is not None:
            return named
        distance = self.distance(words)
        return {f"distance {d}": distance == d for d in range(1, self.length + 1)}

    def violated(self, words: Tensor) -> Tensor:
        """Return whether each of K kinds of `violations` is found in each word: (K, N) bool."""
        none = torch.zeros(0, len(words), dtype=torch.bool, device=words.device)
        return torch.cat([none, *(found[None] for found in self.violations(words).values())])

    def log_partition(self, scores: Tensor) -> Tensor:
        """Return log sum over valid words w of weight(w) exp(sum_i scores[b, i, w_i]).

        Args:
            scores: (B, L, V) float32 or float64, in nats; -inf excludes a symbol.

        Returns:
            (B,), -inf where no valid word is left. Differentiable.

        Raises:
            UsageError: If the shape is wrong, or a score is NaN or +inf.
        """
        return self._log_sum(scores, LogSemiring())

    def _log_sum(self, scores: Tensor, semiring: LogSemiring) -> Tensor:
        self._check_scores(scores)
        # Each cell's best score is added back at the end: at log-SNR 15 the evidence is of order
        # 1e8, where float32 resolves 8 nats.
        peak = scores.detach().amax(-1, keepdim=True).clamp(min=LOG_ZERO)
        relative = (scores - peak).clamp(min=LOG_ZERO)
        total = self.inside(relative, semiring)
        total = torch.where(total > LOG_ZERO / 2, total, -math.inf)
        return total + peak.sum((1, 2))

    def marginals(self, scores: Tensor) -> Tensor:
        """Return the posterior probability of each symbol in each cell: d log_partition / d scores.

        Args:
            scores: (B, L, V); differentiable when it requires a gradient.

        Returns:
            (B, L, V), summing to 1 over symbols.
        """
        differentiable = scores.requires_grad and torch.is_grad_enabled()
        rows = []
        for chunk in self.chunks(scores):
            with torch.enable_grad():
                leaf = chunk if differentiable else chunk.detach().requires_grad_()
                total = self.log_partition(leaf).sum()
                (gradient,) = torch.autograd.grad(total, leaf, create_graph=differentiable)
            rows.append(gradient)
        return torch.cat(rows)

    def sample(self, n: int, generator: torch.Generator, *, scores: Tensor | None = None) -> Tensor:
        """Draw words exactly from the language's distribution, without rejection.

        Args:
            n: How many.
            generator: Its device is where the words are made.
            scores: (n, L, V) evidence to draw from the posterior instead of the language.

        Returns:
            (n, L) long.
        """
        if scores is None:
            zeros = torch.zeros(1, self.length, self.symbols, device=generator.device)
            scores = zeros.expand(n, -1, -1)
        self._check_scores(scores)
        semiring = SamplingSemiring(generator)
        parts = scores.clamp(min=LOG_ZERO).split(self.drawn_at_once)
        return torch.cat([self._gradient(part, semiring).argmax(-1) for part in parts])

    def sample_each(self, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw `n` words with each of K generators, as `sample` does: (K, n, L) long.

        What one generator gives does not depend on the others. It need not be what `sample` gives.
        """
        return torch.stack([self.sample(n, generator) for generator in generators])

    def _gradient(self, scores: Tensor, semiring: Semiring) -> Tensor:
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.inside(leaf, semiring).sum(), leaf)
        return found

    def count(self) -> int:
        """Return the exact number of valid words, right to the last digit at any length."""
        primes = primes_beyond(self.symbols**self.length)
        ones = torch.ones(len(primes), self.length, self.symbols, dtype=torch.int64)
        remainders = self.inside(ones, ModularSemiring(torch.tensor(primes)))
        return from_remainders(remainders.tolist(), primes)

    def best(self, scores: Tensor) -> Tensor:
        """Return the highest score of any valid word, max over w of sum_i scores[b, i, w_i].

        Args:
            scores: (B, L, V).

        Returns:
            (B,).
        """
        self._check_scores(scores)
        semiring = MaxSemiring()
        return torch.cat([self.inside(chunk, semiring) for chunk in self.chunks(scores)])

    def distance(self, words: Tensor) -> Tensor:
        """Return the fewest symbol substitutions that make each word valid.

        Args:
            words: (N, L) long.

        Returns:
            (N,) long.
        """
        best = [self.best(self._costs(part)) for part in self.chunks(words)]
        return -torch.cat(best).round().long()

    def _costs(self, words: Tensor) -> Tensor:
        # A symbol that differs from the word's costs one; the best valid word costs the distance.
        self.check_words(words)
        return torch.nn.functional.one_hot(words, self.symbols).float() - 1.0

    def nearest(self, words: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return a valid word the fewest substitutions away from each word.

        Where several are equally near, one of them is drawn, so that no cell is blamed more often
        for its place in the recursion: each has a chance, and the same where one substitution is
        enough.

        Args:
            words: (N, L) long.
            generator: For the draws; by default the same ones every time.

        Returns:
            (N, L) long.
        """
        random = generator or seeded(0, "nearest words", device=words.device)
        found = []
        for part in self.chunks(words):
            costs = self._costs(part)
            # A word's substitutions together get less than one more, which changes no distance.
            noise = torch.rand(costs.shape, generator=random, device=words.device)
            costs = costs * (1 + noise / (self.length + 1))
            found.append(self._gradient(costs, MaxSemiring()).argmax(-1))
        return torch.cat(found)

    def suspects(self, words: Tensor) -> Tensor:
        """Return the cells that any of the nearest valid words would change.

        Exact at any length: costs are whole numbers, and what attains their maximum is marked.
        Memory as of `marginals`: one gradient of a chunk.

        Args:
            words: (N, L) long.

        Returns:
            (N, L) bool; all false for valid words.
        """
        found = []
        for part in self.chunks(words):
            marks = self._gradient(self._costs(part), AnyBestSemiring())
            own = torch.nn.functional.one_hot(part, self.symbols).bool()
            found.append((marks.masked_fill(own, 0.0) > 0).any(-1))
        return torch.cat(found)

    def signed_sum(self, factors: Tensor) -> Tensor:
        """Return the sum over valid words w of the product of `factors[b, i, w_i]`.

        Args:
            factors: (B, L, V), of either sign; weights of words do not count.

        Returns:
            (B,). Differentiable.
        """
        self._check_scores(factors)
        return torch.cat([self.inside(c, RealSemiring()) for c in self.chunks(factors)])

    def contains(self, words: Tensor) -> Tensor:
        """Return whether each word of `words (N, L)` is valid: (N,) bool."""
        return self.distance(words) == 0

    def words(self, limit: int = 2**20) -> Tensor:
        """List every valid word in lexicographic order.

        Returns:
            (count, L) long.

        Raises:
            UsageError: If there are more than `limit`.
        """
        if (count := self.count()) > limit:
            raise UsageError(f"the language has {count:,} words, more than the limit of {limit:,}")
        for prefixes in self.prefixes():
            words = prefixes
        return words

    def prefixes(self) -> Iterator[Tensor]:
        """Yield all beginnings of valid words, those of one symbol first, whole words last.

        There are never more of a length than of the next.

        Yields:
            (n, l) long each, l from 1 to L, in lexicographic order.
        """
        prefixes = torch.zeros(1, 0, dtype=torch.long)
        for position in range(self.length):
            alphabet = torch.arange(self.symbols).repeat(len(prefixes))
            longer = torch.cat(
                [prefixes.repeat_interleave(self.symbols, 0), alphabet[:, None]], dim=1
            )
            # A prefix can be completed when some valid word agrees with it at no cost.
            scores = torch.zeros(len(longer), self.length, self.symbols)
            scores[:, : position + 1] = torch.nn.functional.one_hot(longer, self.symbols) - 1.0
            prefixes = longer[self.best(scores) == 0]
            yield prefixes

    def symbol_marginals(self) -> Tensor:
        """Return the probability of each symbol in each cell of a word: (L, V) float64."""
        return self.marginals(self._no_evidence())[0]

    def probability(self, words: Tensor) -> Tensor:
        """Return how likely each word is.

        Args:
            words: (N, L) long.

        Returns:
            (N,) float64, 0 for words that are not valid.
        """
        self.check_words(words)
        evidence = torch.nn.functional.one_hot(words, self.symbols).double().log()
        with torch.no_grad():
            each = torch.cat([self.log_partition(chunk) for chunk in self.chunks(evidence)])
            return (each - self.log_partition(self._no_evidence().to(each.device))).exp()

    def entropy(self) -> float:
        """Return a word's entropy in nats: log count or, with weights, log Z − E[log weight]."""
        if not self.weighted:
            return math.log(self.count())
        power = torch.ones((), dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            log_total = self._log_sum(self._no_evidence(), LogSemiring(power))
            (mean_log_weight,) = torch.autograd.grad(log_total.sum(), power)
        return log_total.item() - mean_log_weight.item()

    def collision_probability(self, draws: int = 2) -> float:
        """Return the chance that independent words are all the same, sum over w of p_w^draws."""
        each = self._log_sum(self._no_evidence(), LogSemiring(power=float(draws)))
        return float((each - draws * self.log_partition(self._no_evidence())).exp())

    def total_correlation(self) -> float:
        """Return sum of the cells' marginal entropies minus the entropy, in nats.

        This is what a model of independent cells misses: KL(language ‖ product of its marginals).
        """
        cells = torch.special.entr(self.symbol_marginals()).sum()
        return float(cells) - self.entropy()

    def pair_information(self) -> Tensor:
        """Return the mutual information of each pair of cells, exactly.

        I_ij = sum over symbols of p(w_i, w_j) log [p(w_i, w_j) / (p(w_i) p(w_j))], from the
        marginals given each symbol of each cell.

        Returns:
            (L, L) float64 in nats, symmetric; on the diagonal each cell's own entropy.
        """
        cells, symbols = self.length, self.symbols
        own = self.symbol_marginals()
        cell, symbol = (own > 0).nonzero().unbind(1)
        known = self._no_evidence().repeat(len(cell), 1, 1)
        rows = torch.arange(len(cell))
        known[rows, cell] = -math.inf
        known[rows, cell, symbol] = 0.0
        joint = own.new_zeros(cells, symbols, cells, symbols)
        joint[cell, symbol] = own[cell, symbol, None, None] * self.marginals(known)
        independent = own[:, :, None, None] * own
        nats = torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, independent)
        found: Tensor = nats.sum((1, 3)).clamp(min=0)
        return (found + found.T) / 2

    def neighbour_nats(self) -> float:
        """Return the mean mutual information of cells i and i + 1 in reading order, in nats.

        0 for words of a single cell.
        """
        if self.length == 1:
            return 0.0
        return float(self.pair_information().diagonal(1).mean())

    def uniform_rate(self) -> float:
        """Return the share of valid words among words of uniform independent symbols."""
        return self.count() / int(self.symbols**self.length)

    def product_rate(self) -> float:
        """Return the share of valid words among draws from the product of the marginals.

        The chance line of a perfectly local generator: every symbol as frequent as it should be,
        and independent of the others.
        """
        scores = self.symbol_marginals().log()[None]
        return float(self._log_sum(scores, LogSemiring(power=0.0)).exp())

    def _no_evidence(self) -> Tensor:
        return torch.zeros(1, self.length, self.symbols, dtype=torch.float64)

    def check_words(self, words: Tensor) -> None:
        """Raise UsageError unless `words` is (N, L) of integers in `range(V)`."""
        if words.ndim != 2 or words.shape[1] != self.length:
            raise UsageError(
                f"words have shape {tuple(words.shape)}; the grammar needs (N, {self.length})"
            )
        if words.is_floating_point() or words.dtype == torch.bool:
            raise UsageError(f"words are {words.dtype}; they must be integers")
        bad = (words < 0) | (words >= self.symbols)
        if bad.any():
            row, cell = (int(i) for i in bad.nonzero()[0])
            raise UsageError(
                f"word {row}, cell {cell}: symbol {int(words[row, cell])} is outside the "
                f"alphabet of {self.symbols}"
            )

    def _check_scores(self, scores: Tensor) -> None:
        if scores.ndim != 3 or scores.shape[1:] != (self.length, self.symbols):
            raise UsageError(
                f"scores have shape {tuple(scores.shape)}; "
                f"the grammar needs (B, {self.length}, {self.symbols})"
            )
        if not (scores < math.inf).all():
            raise UsageError("scores contain NaN or +inf")

    def chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """Split a batch into what `inside` may hold at once."""
        yield from rows.split(memory.items(8 * self.elements_per_row, INSIDE))

    @property
    def drawn_at_once(self) -> int:
        """Words of which the recursion holds what it needs to draw them."""
        return memory.usual_items(8 * self.elements_per_row, INSIDE)


def log_weights(weights: Tensor | Sequence[Any], used: Tensor) -> Tensor | None:
    """Return the logarithms of weights, 0 where they are not used; None where all are 1.

    Args:
        weights: Numbers.
        used: Bool, of their shape.

    Raises:
        UsageError: If the shapes differ, or a weight that is used is not positive and finite.
    """
    try:
        values = torch.as_tensor(weights, dtype=torch.float64).detach()
    except (TypeError, ValueError) as error:
        raise UsageError("weights must be numbers, all rows of the same length") from error
    if values.shape != used.shape:
        raise UsageError(f"weights have shape {tuple(values.shape)}, not {tuple(used.shape)}")
    bad = used & ~((values > 0) & (values < math.inf))
    if bad.any():
        index = tuple(bad.nonzero()[0].tolist())
        raise UsageError(
            f"weight {', '.join(map(str, index))} is {values[index]:g}; "
            "weights are positive and finite"
        )
    logs = torch.where(used, values, 1.0).log()
    return logs if logs.any() else None
