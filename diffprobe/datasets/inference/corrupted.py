"""A language with a cell that may be wrong.

With probability `rate` exactly one cell of a word, each as likely, holds another symbol than it
should, each as likely:

    p(w) = (1 - rate) p_0(w) + rate / L · sum_i 1 / (V - 1) · sum over v ≠ w_i of p_0(w, i -> v)

Its log-partition function calls that of p_0 once as it is, and once for each cell, whose scores
are then those of a symbol that has been replaced,

    scores'[i, v] = log of the mean over v' ≠ v of exp(scores[i, v']).
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.overlapping import LISTED, Overlapping, as_weight, listed
from diffprobe.datasets.inference.semiring import Semiring
from diffprobe.foundations.errors import UsageError


class Corrupted(Overlapping):
    """Words of a grammar of which a share `rate` has one cell replaced; all of these are valid.

    Counts, entropies and rates are exact up to 65,536 words.

    Args:
        grammar: Of the words before, over at least two symbols.
        rate: In (0, 1].

    Raises:
        UsageError: If the rate is out of range, or there is no other symbol.

    Example:
        >>> from diffprobe.datasets import WordList
        >>> one = Corrupted(WordList(torch.tensor([[0, 0]]), 2), rate=0.5)
        >>> one.probability(torch.tensor([[0, 0], [0, 1], [1, 1]])).tolist()
        [0.5, 0.25, 0.0]
    """

    def __init__(self, grammar: Grammar, rate: float) -> None:
        if not 0 < rate <= 1:
            raise UsageError(f"the rate of corrupted words must lie in (0, 1], not {rate}")
        if grammar.symbols < 2:
            raise UsageError("a cell is replaced by another symbol, and the grammar has only one")
        self.grammar, self.rate = grammar, rate
        self.length, self.symbols = grammar.length, grammar.symbols
        self.log_total = float(grammar.log_partition(self._no_evidence()))
        # Row v: all symbols but v.
        every = torch.arange(self.symbols).expand(self.symbols, -1)
        self.others = every[~torch.eye(self.symbols, dtype=torch.bool)].reshape(self.symbols, -1)

    @property
    def elements_per_row(self) -> int:
        """The inner grammar's, for each cell that may be wrong and for none."""
        return (self.length + 1) * self.grammar.elements_per_row

    def every_way(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over the cell that is wrong, or none; see `Overlapping.every_way`."""
        each = math.log(self.rate / self.length) - self.log_total
        ways = [
            semiring.weigh(
                self.grammar.inside(self._replaced(scores, cell, semiring), semiring),
                as_weight(each),
            )
            for cell in range(self.length)
        ]
        if self.rate < 1:
            unharmed = as_weight(math.log1p(-self.rate) - self.log_total)
            ways.append(semiring.weigh(self.grammar.inside(scores, semiring), unharmed))
        return semiring.sum(torch.stack(ways, -1), -1)

    def _replaced(self, scores: Tensor, cell: int, semiring: Semiring) -> Tensor:
        """The scores of what `cell` held before it was replaced."""
        others = scores[:, cell][:, self.others.to(scores.device)]
        mean = semiring.weigh(semiring.sum(others, -1), as_weight(-math.log(self.symbols - 1)))
        before, after = scores[:, :cell], scores[:, cell + 1 :]
        return torch.cat([before, mean[:, None], after], 1)

    def sample(self, n: int, generator: torch.Generator, *, scores: Tensor | None = None) -> Tensor:
        """Draw words, some with a cell replaced, or from the posterior; see `Grammar.sample`."""
        if scores is not None:
            return super().sample(n, generator, scores=scores)
        words = self.grammar.sample(n, generator)
        rates = torch.full((n,), self.rate, device=generator.device)
        return replace_cells(words, rates, self.symbols, generator)

    @cached_property
    def words_apart(self) -> Tensor:
        """All words; see `Overlapping.words_apart`."""
        words = listed(self)
        if words is None:
            raise UsageError(
                f"{self.title}: a language with a wrong cell and more than {LISTED:,} words has no "
                "count, entropy or rates that are known"
            )
        return words


def replace_cells(words: Tensor, rates: Tensor, symbols: int, generator: torch.Generator) -> Tensor:
    """Return words of which some have one cell replaced by another symbol.

    Args:
        words: (n, L) long, on the generator's device.
        rates: (n,) the probability for each word.
        symbols: V, at least 2.
        generator: Draws which words, which cell and which symbol, all for every word.

    Returns:
        (n, L) long.
    """
    n, length = words.shape
    device = generator.device
    harmed = torch.rand(n, generator=generator, device=device) < rates
    cell = torch.randint(length, (n,), generator=generator, device=device)
    step = torch.randint(1, symbols, (n,), generator=generator, device=device)
    rows = torch.arange(n, device=device)
    replaced = words.clone()
    replaced[rows, cell] = (words[rows, cell] + step * harmed) % symbols
    return replaced
