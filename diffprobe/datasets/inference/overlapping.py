"""Distributions whose recursion may reach a word in several ways.

The sum over ways,

    p(w) = sum over ways that lead to w of their probabilities,

is all that the log-partition function, its gradient and a sample need. The best word does not ask
how often it is met. What takes each word once (the count, the product rate) or p(w) to a power (the
entropy, a collision) cannot be had from a sum over ways: these go over parts that share no word,
languages that are kept whole and the other words one by one.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.semiring import Semiring
from diffprobe.datasets.inference.word_list import WordList
from diffprobe.foundations.errors import UsageError

# Languages up to this size are listed.
LISTED = 2**16


class Overlapping(Grammar):
    """A distribution that is a sum over ways to reach a word."""

    weighted = True

    @abstractmethod
    def every_way(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the semiring's sum over all ways of their probability times `scores`: (B,)."""

    @property
    def whole(self) -> Sequence[tuple[float, Grammar]]:
        """Languages that share no word, and the log of what each one's weights count."""
        return ()

    @property
    @abstractmethod
    def words_apart(self) -> Tensor:
        """All words that are in no language of `whole`: (M, L) long.

        Raises:
            UsageError: If they are too many to list.
        """

    @property
    def partly_in_whole(self) -> bool:
        """Whether a word in a language of `whole` is reached in another way as well."""
        return False

    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the semiring's sum over valid words of the product of `scores (B, L, V)`: (B,).

        Raises:
            UsageError: If words count once, and they are too many to list.
        """
        adds_up = not isinstance(semiring.power, Tensor) and semiring.power == 1
        if semiring.idempotent or adds_up:
            return self.every_way(scores, semiring)
        return self._each_once(scores, semiring)

    def _each_once(self, scores: Tensor, semiring: Semiring) -> Tensor:
        by_power = isinstance(semiring.power, Tensor) or semiring.power != 0
        if by_power and self.partly_in_whole:
            raise UsageError(
                f"{self.title}: the entropy of components that share words is known where all of "
                f"them have at most {LISTED:,} words"
            )
        parts = [
            semiring.weigh(language.inside(scores, semiring), as_weight(share))
            for share, language in self.whole
        ]
        if (apart := self._apart) is not None:
            rows = apart.chunks(scores)
            parts.append(torch.cat([apart.inside(chunk, semiring) for chunk in rows]))
        return semiring.sum(torch.stack(parts, -1), -1)

    def count(self) -> int:
        """Return the exact number of valid words, each counted once.

        Raises:
            UsageError: If it cannot be known.
        """
        return sum(language.count() for _, language in self.whole) + len(self.words_apart)

    def entropy(self) -> float:
        """Return a word's entropy in nats.

        Raises:
            UsageError: If it is not known.
        """
        return super().entropy() if self.count() > 1 else 0.0

    @cached_property
    def _apart(self) -> WordList | None:
        words = self.words_apart
        if not len(words):
            return None
        return WordList(words, self.symbols, self.probability(words))


def as_weight(log_weight: float) -> Tensor:
    """Return a weight as `Semiring.weigh` takes it: () float64."""
    return torch.tensor(log_weight, dtype=torch.float64)


def listed(grammar: Grammar) -> Tensor | None:
    """Return all words of a language in order, (M, L) long; None where they are too many."""
    words = torch.zeros(1, 0, dtype=torch.long)
    for words in grammar.prefixes():
        if len(words) > LISTED:
            return None
    return words
