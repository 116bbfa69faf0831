"""How words break a grammar: in which ways, where, by how much, and which cells break together.

Where a word is wrong depends on what it should have been. That is a nearest valid word: one that
the fewest substitutions reach. Several may be equally near (in a word of odd parity any cell may
be the wrong one); then one of them is drawn, so that a cell is blamed as often as it deserves.

Two cells break together where changing either repairs the word and changing any third does not:
brackets of two kinds that close each other, a symbol and the copy it should have.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import Grammar
from diffprobe.evaluation.words.divergence import counted
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Rate, clustered, wilson
from diffprobe.foundations.tables import Table

# Words drawn to tell what chance alone breaks, and what they may cost.
DRAWN = 10_000
FEWEST_DRAWN = 500
DRAWN_ELEMENTS = 2**24
# Pairs and substitutions that are told, the most frequent ones.
TOLD = 20


@dataclass(frozen=True)
class Pair:
    """Two cells or symbols, and the share of words in which they break together."""

    first: int
    second: int
    rate: Rate


@dataclass(frozen=True, repr=False)
class Violations(Table):
    """What is wrong in N words; all rates are shares of these words.

    Attributes:
        invalid: Words that are not valid.
        kinds: Named ways of being wrong, most frequent first; a word may be wrong in several.
        positions: By cell: words whose nearest valid word differs there.
        distances: By distance d > 0: words that d substitutions make valid, as far as any is.
        substitutions: Symbol read -> symbol of the nearest valid word, of all substitutions.
        paired: Words with exactly two cells of which either repairs them.
        cells: Pairs of such cells, most frequent first.
        symbols: Pairs of the symbols read in them.
    """

    invalid: Rate
    kinds: dict[str, Rate]
    positions: tuple[Rate, ...]
    distances: dict[int, Rate]
    substitutions: tuple[Pair, ...]
    paired: Rate
    cells: tuple[Pair, ...]
    symbols: tuple[Pair, ...]

    @property
    def repairable(self) -> Rate:
        """Share of the invalid words that one substitution repairs."""
        one = self.distances.get(1)
        return wilson(one.count if one else 0, self.invalid.count)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each kind of violation, most frequent first."""
        return [{"kind": kind, **rate.rows()[0]} for kind, rate in self.kinds.items()]

    def __repr__(self) -> str:
        return f"<Violations in {self.invalid.n:,} words: invalid {self.invalid}>"


def measure(grammar: Grammar, words: Tensor, nearest: Tensor | None = None) -> Violations:
    """Count what is wrong in words.

    Args:
        grammar: To judge by.
        words: (N, L) long.
        nearest: (N, L) long, a nearest valid word of each; found here by default.
    """
    n = len(words)
    if nearest is None:
        nearest = grammar.nearest(words)
    wrong_cells = words != nearest
    distance = wrong_cells.sum(1)
    kinds = {k: wilson(int(f.sum()), n) for k, f in grammar.violations(words).items()}
    counts = distance.bincount().tolist()
    cells, symbols = _broken_pairs(grammar, words[distance == 1])
    return Violations(
        invalid=wilson(int((distance > 0).sum()), n),
        kinds=dict(sorted(kinds.items(), key=lambda item: -item[1].count)),
        positions=tuple(wilson(count, n) for count in wrong_cells.sum(0).tolist()),
        distances={d: wilson(count, n) for d, count in enumerate(counts) if d},
        substitutions=_substitutions(words, nearest),
        paired=wilson(cells.total(), n),
        cells=_pairs(cells, n),
        symbols=_pairs(symbols, n),
    )


def chance(grammar: Grammar, *, uniform: bool, seed: int = 0) -> Violations:
    """Count what is wrong in words of independent symbols, drawn anew.

    Args:
        grammar: To judge by.
        uniform: All symbols equally likely; otherwise as likely as in the language.
        seed: Of the draws.
    """
    n = min(DRAWN, max(FEWEST_DRAWN, DRAWN_ELEMENTS // grammar.elements_per_row))
    shares = torch.ones(grammar.length, grammar.symbols).double()
    if not uniform:
        shares = grammar.symbol_marginals()
    random = generator(seed, "chance")
    words = shares.multinomial(n, replacement=True, generator=random).T.contiguous()
    return measure(grammar, words)


def _substitutions(words: Tensor, nearest: Tensor) -> tuple[Pair, ...]:
    """Count what is replaced by what, the most frequent; those in one word belong together."""
    wrong = words != nearest
    replaced = Counter(zip(words[wrong].tolist(), nearest[wrong].tolist(), strict=True))
    return tuple(
        Pair(a, b, clustered((wrong & (words == a) & (nearest == b)).sum(1), wrong.sum(1)))
        for (a, b), _ in replaced.most_common(TOLD)
    )


def _broken_pairs(
    grammar: Grammar, words: Tensor
) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Count the pairs of cells, and of symbols read, that break together in words at distance 1."""
    distinct, counts = counted(words, grammar.symbols)
    suspects = grammar.suspects(distinct)
    two = suspects.sum(1) == 2
    distinct, counts = distinct[two], counts[two]
    places = suspects[two].nonzero()[:, 1].reshape(-1, 2)
    cells: Counter[tuple[int, int]] = Counter()
    symbols: Counter[tuple[int, int]] = Counter()
    rows = places.tolist(), distinct.gather(1, places).tolist(), counts.tolist()
    for (i, j), (a, b), count in zip(*rows, strict=True):
        cells[i, j] += count
        symbols[a, b] += count
    return cells, symbols


def _pairs(counts: Counter[tuple[Any, Any]], n: int) -> tuple[Pair, ...]:
    return tuple(Pair(a, b, wilson(count, n)) for (a, b), count in counts.most_common(TOLD))
