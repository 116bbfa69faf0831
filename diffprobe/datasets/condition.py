"""What a network is told of a word: a few tokens, and the exact posterior that they leave.

    class   one token, a component k of a mixture      p(w | k) = p_k(w)
    word    a token for each of the first M cells      p(w | c) ∝ p(w) where w_i = c_i for i < M

A token is a symbol of the condition's own alphabet, or `EMPTY` where nothing is told.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.mixture import Mixture
from diffprobe.datasets.spelling import spell, typed_names
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.seeding import generator as seeded

EMPTY = -1
ALL = "all"  # what is told of words of the world, drawn at random


class Conditions(ABC):
    """All that can be told of the words of a grammar.

    Attributes:
        grammar: Whose words.
        tokens: M, tokens of a condition.
        symbols: K, what a token may be beside `EMPTY`.
        of_cells: Whether token i is told of cell i.
    """

    grammar: Grammar
    tokens: int
    symbols: int
    of_cells: bool = False

    @abstractmethod
    def of(self, words: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is told of `words (N, L)`: (N, M) long."""

    @abstractmethod
    def marginals(self, scores: Tensor, told: Tensor) -> Tensor:
        """Return the posterior of each symbol in each cell, given evidence and a condition.

        Args:
            scores: (B, L, V), as `Grammar.marginals` takes them.
            told: (B, M) long.

        Returns:
            (B, L, V), summing to 1 over symbols. A word that is told whole is what it is, valid or
            not.
        """

    @abstractmethod
    def holds(self, words: Tensor, told: Tensor) -> Tensor:
        """Return whether each of `words (N, L)` is a valid word of its condition, (N, M): (N,)."""

    @abstractmethod
    def typed(self, text: str, names: Sequence[str]) -> Tensor:
        """Return the condition that was typed, (M,) long.

        Args:
            text: A class, or a word.
            names: V printable names of the grammar's symbols.

        Raises:
            UsageError: If there is no such condition.
        """

    @abstractmethod
    def possible(self, told: Tensor) -> Tensor:
        """Return whether each condition of `told (N, M)` leaves any word: (N,) bool."""

    @abstractmethod
    def token_names(self, names: Sequence[str]) -> list[str]:
        """Return what each of K symbols of the condition is called."""

    def read(self, text: str, names: Sequence[str], n: int, seed: int = 0) -> Tensor:
        """Return what a text says is told of each of `n` samples: (n, M) long.

        Args:
            text: Conditions, separated by spaces; sample i is on the next of them, and after the
                last the first comes again. `all` is what is told of a word of the world, drawn anew
                for each sample.
            names: V printable names of the grammar's symbols.
            n: How many samples.
            seed: Of the words that are drawn.

        Raises:
            UsageError: If there is no such condition, or none is named.
        """
        items = text.split()
        if not items:
            raise UsageError(f"sampling.condition names no condition: {text!r}")
        every = [None if item == ALL else self.typed(item, names) for item in items]
        drawn = torch.empty(n, self.tokens)
        if ALL in items:
            random = seeded(seed, "conditions")
            drawn = self.of(self.grammar.sample(n, random), random)
        rows = (every[i % len(every)] for i in range(n))
        return torch.stack([drawn[i] if row is None else row for i, row in enumerate(rows)])


class ClassConditions(Conditions):
    """Which component of a mixture a word is of.

    Args:
        grammar: A mixture.

    Raises:
        UsageError: If it is another grammar.
    """

    tokens = 1

    def __init__(self, grammar: Grammar) -> None:
        if not isinstance(grammar, Mixture):
            raise UsageError(
                "condition 'class' tells which component of a mixture a word is of, and the "
                f"grammar is {grammar.title}: take the grammar 'mixture', or condition 'word'"
            )
        self.grammar: Mixture = grammar
        self.symbols = len(grammar.components)

    def of(self, words: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a component of each word, as often as it is of it; `EMPTY` where no one has it."""
        shares = self.grammar.components_of(words)
        known = shares.isfinite().all(1, keepdim=True)
        found = shares.where(known, 1.0).multinomial(1, generator=generator)
        return found.where(known, EMPTY)

    def marginals(self, scores: Tensor, told: Tensor) -> Tensor:
        """Return the posterior in the component; see `Conditions.marginals`."""
        found = torch.zeros_like(scores)
        for k in told.unique().tolist():
            rows = told[:, 0] == k
            found[rows] = self.language(k).marginals(scores[rows])
        return found

    def holds(self, words: Tensor, told: Tensor) -> Tensor:
        """Return whether each word is one of its component's; see `Conditions.holds`."""
        found = torch.zeros(len(words), dtype=torch.bool, device=words.device)
        for k in told.unique().tolist():
            rows = told[:, 0] == k
            found[rows] = self.language(k).contains(words[rows])
        return found

    def language(self, k: int) -> Grammar:
        """Return component `k`; of `EMPTY` the whole mixture."""
        return self.grammar if k == EMPTY else self.grammar.components[k]

    def typed(self, text: str, names: Sequence[str]) -> Tensor:
        """Return the component of that name; see `Conditions.typed`."""
        classes = self.token_names(names)
        if text not in classes:
            raise unknown_name("class", text, [*classes, ALL])
        return torch.tensor([classes.index(text)])

    def possible(self, told: Tensor) -> Tensor:
        """Return all true: every component has words."""
        return torch.ones(len(told), dtype=torch.bool, device=told.device)

    def token_names(self, names: Sequence[str]) -> list[str]:
        """Return the components' names, with their numbers where two have the same."""
        titles = [component.title for component in self.grammar.components]
        return [
            title if titles.count(title) == 1 else f"{title}-{k}" for k, title in enumerate(titles)
        ]


class WordConditions(Conditions):
    """The symbols of the first cells of a word.

    Args:
        grammar: Whose words.
        cells: How many cells; 0 for all.

    Raises:
        UsageError: If words are shorter.
    """

    of_cells = True

    def __init__(self, grammar: Grammar, cells: int = 0) -> None:
        if cells > grammar.length:
            raise UsageError(
                f"condition.cells = {cells}, and words have {grammar.length}: 0 tells all of them"
            )
        self.grammar = grammar
        self.tokens = cells or grammar.length
        self.symbols = grammar.symbols

    def of(self, words: Tensor, generator: torch.Generator) -> Tensor:
        """Return how each word begins; nothing is random."""
        return words[:, : self.tokens]

    def marginals(self, scores: Tensor, told: Tensor) -> Tensor:
        """Return the posterior among the words that begin so; see `Conditions.marginals`."""
        excluded = self._excluded(told)
        whole = (told != EMPTY).sum(1) == self.grammar.length
        found = (~excluded).to(scores)
        if not whole.all():
            rest = ~whole
            found[rest] = self.grammar.marginals(
                scores[rest].masked_fill(excluded[rest], -torch.inf)
            )
        return found

    def holds(self, words: Tensor, told: Tensor) -> Tensor:
        """Return whether each word begins as it should; see `Conditions.holds`."""
        begins = words[:, : self.tokens]
        same = ((begins == told) | (told == EMPTY)).all(1)
        whole = (told != EMPTY).sum(1) == self.grammar.length
        return same & (whole | self.grammar.contains(words))

    def typed(self, text: str, names: Sequence[str]) -> Tensor:
        """Return the symbols of a word; see `Conditions.typed`."""
        symbols = typed_names(names)
        word, rest = spell(text, symbols)
        if rest:
            raise UsageError(
                f"{rest[0]!r} in {text!r} is not among the symbols {' '.join(symbols)}; a "
                f"condition is a word, or {ALL!r}"
            )
        if len(word) != self.tokens:
            raise UsageError(
                f"{text!r} has {len(word)} cells, and this network is told "
                f"{'words' if self.tokens == self.grammar.length else 'beginnings'} of "
                f"{self.tokens}"
            )
        told = torch.tensor([word])
        if not self.possible(told).all():
            raise UsageError(f"no valid word begins with {text}")
        return told[0]

    def possible(self, told: Tensor) -> Tensor:
        """Return whether a valid word begins so; all of what is told whole."""
        if self.tokens == self.grammar.length:
            return torch.ones(len(told), dtype=torch.bool, device=told.device)
        # What differs costs one.
        cost = -self._excluded(told).float()
        found: Tensor = self.grammar.best(cost) == 0
        return found

    def token_names(self, names: Sequence[str]) -> list[str]:
        """Return the names of the grammar's symbols."""
        return list(names)

    def _excluded(self, told: Tensor) -> Tensor:
        """Which symbols of each cell a condition rules out: (N, L, V) bool."""
        free = self.grammar.length - self.tokens
        told = torch.nn.functional.pad(told, (0, free), value=EMPTY)
        known = told != EMPTY
        return known[..., None] & ~one_hot(told.where(known, 0), self.symbols).bool()
