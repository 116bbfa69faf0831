"""Mixtures of grammars.

With components k of shares q_k, and Z_k the total weight of component k,

    p(w) = sum_k q_k p_k(w)
    log_partition(scores) = logsumexp_k (log q_k + log Z_k(scores) - log Z_k)

A word may be in several components.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from diffprobe.datasets.inference.automaton import Automaton
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.overlapping import LISTED, Overlapping, listed
from diffprobe.datasets.inference.semiring import Semiring
from diffprobe.foundations.errors import UsageError


class Mixture(Overlapping):
    """A word of component k with probability `shares[k]`; valid is what any component has.

    Its count, entropy and rates are exact where components have at most 65,536 words, or are
    automata that share none.

    Args:
        components: Grammars of one length and alphabet, at least one.
        shares: (K,) positive; divided by their sum.

    Raises:
        UsageError: If there is no component, their words differ in length or alphabet, or a share
            is not positive and finite.

    Example:
        >>> even = Automaton([[0, 1], [1, 0]], accept=[0], length=4)
        >>> zeros = Automaton([[0, -1]], accept=[0], length=4)
        >>> Mixture([even, zeros], [3, 1]).probability(torch.tensor([[0, 0, 0, 0]])).float()
        tensor([0.3438])
    """

    def __init__(self, components: Sequence[Grammar], shares: Sequence[float]) -> None:
        if not components or len(components) != len(shares):
            raise UsageError(
                f"a mixture needs at least one component, each with a share; there are "
                f"{len(components)} components and {len(shares)} shares"
            )
        for k, share in enumerate(shares):
            if not 0 < share < math.inf:
                raise UsageError(f"the share of component {k} must be positive, not {share}")
        self.components = tuple(components)
        self.length, self.symbols = components[0].length, components[0].symbols
        for k, grammar in enumerate(components):
            if (grammar.length, grammar.symbols) != (self.length, self.symbols):
                raise UsageError(
                    f"component {k} ({grammar.title}) has words of {grammar.length} cells over "
                    f"{grammar.symbols} symbols; those of component 0 ({components[0].title}) have "
                    f"{self.length} over {self.symbols}"
                )
        self.shares = torch.tensor(shares, dtype=torch.float64)
        self.shares /= self.shares.sum()
        totals = [grammar.log_partition(self._no_evidence()) for grammar in components]
        self.log_shares = self.shares.log() - torch.cat(totals)

    @property
    def elements_per_row(self) -> int:
        """All components are held for the gradient."""
        return sum(grammar.elements_per_row for grammar in self.components)

    def every_way(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over components; see `Overlapping.every_way`."""
        totals = [grammar.inside(scores, semiring) for grammar in self.components]
        return semiring.sum(semiring.weigh(torch.stack(totals, -1), self.log_shares), -1)

    def sample_with_components(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw words, and remember which component each is from.

        Returns:
            words (n, L) long, component (n,) long.
        """
        device = generator.device
        component = torch.multinomial(
            self.shares.to(device), n, replacement=True, generator=generator
        )
        words = torch.zeros(n, self.length, dtype=torch.long, device=device)
        for k, grammar in enumerate(self.components):
            mine = component == k
            if mine.any():
                words[mine] = grammar.sample(int(mine.sum()), generator)
        return words, component

    def components_of(self, words: Tensor) -> Tensor:
        """Return the probability that each word is of each component, p(k | w): (N, K) float64.

        Args:
            words: (N, L) long; the row of a word that no component has is NaN.
        """
        each = torch.stack([grammar.probability(words) for grammar in self.components], -1)
        weights = each * self.shares.to(each)
        return weights / weights.sum(-1, keepdim=True)

    def sample(self, n: int, generator: torch.Generator, *, scores: Tensor | None = None) -> Tensor:
        """Draw words of the mixture, or of its posterior; see `Grammar.sample`."""
        if scores is None:
            return self.sample_with_components(n, generator)[0]
        return super().sample(n, generator, scores=scores)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return what is wrong with each word by the rules of the component nearest to it.

        Of equally near ones it is the first. Where components differ in kind, the name of a kind of
        violation begins with that of the component.
        """
        self.check_words(words)
        nearest = torch.stack([grammar.distance(words) for grammar in self.components]).argmin(0)
        differ = len({grammar.title for grammar in self.components}) > 1
        kinds: dict[str, Tensor] = {}
        for k, grammar in enumerate(self.components):
            for name, wrong in grammar.violations(words).items():
                told = f"{grammar.title}: {name}" if differ else name
                found = wrong & (nearest == k)
                kinds[told] = kinds[told] | found if told in kinds else found
        return kinds

    @cached_property
    def whole(self) -> Sequence[tuple[float, Grammar]]:
        """The components that are too large to list, no two of which share a word.

        Raises:
            UsageError: If two do, or if it is not known.
        """
        large = [k for k, words in enumerate(self._words) if words is None]
        for i, k in enumerate(large):
            for other in large[:i]:
                self._check_disjoint(other, k)
        return [(float(self.log_shares[k]), self.components[k]) for k in large]

    @cached_property
    def words_apart(self) -> Tensor:
        """The words of the components that are listed and of no other; see `Overlapping`."""
        small = self._words_listed
        for _, language in self.whole:
            small = small[~language.contains(small)]
        return small

    @property
    def partly_in_whole(self) -> bool:
        """Whether listed words are in a component that is not."""
        return len(self.words_apart) < len(self._words_listed)

    @cached_property
    def _words(self) -> list[Tensor | None]:
        return [listed(grammar) for grammar in self.components]

    @cached_property
    def _words_listed(self) -> Tensor:
        found = [words for words in self._words if words is not None]
        empty = torch.zeros(0, self.length, dtype=torch.long)
        distinct: Tensor = torch.cat([empty, *found]).unique(dim=0)
        return distinct

    def _check_disjoint(self, i: int, j: int) -> None:
        a, b = self.components[i], self.components[j]
        both = f"components {i} ({a.title}) and {j} ({b.title}) of the mixture"
        if not (isinstance(a, Automaton) and isinstance(b, Automaton) and a.order == b.order):
            raise UsageError(
                f"it is not known whether {both} share words: one of them must have at most "
                f"{LISTED:,}, or both be automata that read their cells in the same order"
            )
        if share_a_word(a, b):
            raise UsageError(
                f"{both} share words, and both have more than {LISTED:,}: how many words and how "
                "much entropy they have together is not known"
            )


def share_a_word(a: Automaton, b: Automaton) -> bool:
    """Return whether some word is accepted by both automata, which read in the same order."""
    together = torch.zeros(a.states + 1, b.states + 1, dtype=torch.bool)
    together[a.start, b.start] = True
    for step in range(a.length):
        first, second = together.nonzero(as_tuple=True)
        following = torch.zeros_like(together)
        following[a.table[step, first], b.table[step, second]] = True
        # The last state is the dead one.
        following[a.states] = False
        following[:, b.states] = False
        together = following
    return bool(together[a.accept][:, b.accept].any())
