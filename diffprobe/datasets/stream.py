"""What a training sees, step by step: words, drawn from a language or from a finite set."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.word_list import WordList
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages

# Languages up to this size are listed; a training set of a larger one is drawn until distinct.
LISTED = 2**16
# The least probability that weights must leave for the words held out, drawn by rejection.
HELD_OUT = 0.01
# Draws of the whole training set before its words are too rare to be found.
ROUNDS = 100


class Stream(ABC):
    """A source of words to train on.

    Args:
        grammar: The world's, by which samples are judged.

    Attributes:
        grammar: As given.
        training: (M, L) long, the distinct words that are all there is to train on; None where
            words are fresh.
    """

    training: Tensor | None = None

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar

    @abstractmethod
    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return the words of one step.

        Args:
            step: Steps done before.
            n: How many words.
            generator: For what is random; its device is where the words are made.

        Returns:
            (n, L) long.
        """

    @abstractmethod
    def language(self, step: int | None = None) -> Grammar:
        """Return the distribution that training draws from at a step, or over all of it.

        It is what an oracle of the training data knows; the world's grammar itself where training
        draws from that.
        """

    def render(
        self, images: "SymbolImages", words: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Draw the images of words that `draw` gave: (n, C, H, W), variants at random."""
        return images.draw(words, generator)

    def draw_held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` valid words that are not trained on; any valid words where all are fresh."""
        words = self.grammar.sample(n, generator)
        while (known := self.is_training(words)).any():
            words[known] = self.grammar.sample(int(known.sum()), generator)
        return words

    def is_training(self, words: Tensor) -> Tensor:
        """Return whether each of `words (N, L)` is in the training set: (N,) bool."""
        if self.training is None:
            return torch.zeros(len(words), dtype=torch.bool, device=words.device)
        known = np.isin(_keys(words), _keys(self.training))
        return torch.from_numpy(known).to(words.device)

    def training_share(self) -> float:
        """Return the probability of the training words in the language; 0 where all are fresh."""
        if self.training is None:
            return 0.0
        if self.grammar.weighted:
            return float(self.grammar.probability(self.training).sum())
        return int(self.grammar.contains(self.training).sum()) / self.grammar.count()


class FreshWords(Stream):
    """Words of the language, drawn anew at every step for ever."""

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the language; see `Stream.draw`."""
        return self.grammar.sample(n, generator)

    def language(self, step: int | None = None) -> Grammar:
        """Return the world's grammar."""
        return self.grammar


class FiniteWords(Stream):
    """`n` distinct valid words, drawn with replacement; the other valid words are held out.

    Args:
        grammar: Whose words they are.
        n: Size of the training set.
        seed: Which words; the same seed gives the same set. They are drawn without replacement:
            with weights, likely words are in it sooner.

    Attributes:
        training: (n, L) long.
        weights: (n,) float64, the training words' probabilities in the language; None where all
            are equally likely. They are trained on in proportion to these.

    Raises:
        UsageError: If `n` leaves no word to hold out, or hardly any by weight.
    """

    training: Tensor

    def __init__(self, grammar: Grammar, n: int, seed: int = 0) -> None:
        super().__init__(grammar)
        self.seed = seed
        self.training = training_words(grammar, n, seed)
        self.weights = grammar.probability(self.training) if grammar.weighted else None
        if self.weights is not None and self.training_share() > 1 - HELD_OUT:
            raise UsageError(
                f"a training set of {n:,} words has {self.training_share():.2%} of the "
                f"language's probability: less than {HELD_OUT:.0%} is held out"
            )

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the training set, with replacement; see `Stream.draw`."""
        device = generator.device
        if self.weights is None:
            index = torch.randint(len(self.training), (n,), generator=generator, device=device)
        else:
            weights = self.weights.to(device)
            index = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.training.to(device)[index]

    def language(self, step: int | None = None) -> Grammar:
        """Return the training words as a language."""
        return WordList(self.training, self.grammar.symbols, self.weights)


def training_words(grammar: Grammar, n: int, seed: int) -> Tensor:
    """Return `n` distinct words of a grammar: (n, L) long.

    Raises:
        UsageError: If there are not that many and one more, or they are too rare to be found.
    """
    count = grammar.count()
    if not 0 < n < count:
        raise UsageError(
            f"a training set of {n:,} words does not fit: the language has {count:,} "
            "valid words, and at least one is held out (the stream 'fresh' trains on all of them)"
        )
    random = seeded(seed, "training words")
    if count > LISTED:
        if n > count // 2:
            raise UsageError(f"a training set of more than half of {count:,} words is too large")
        return _distinct(grammar, n, random)
    words = grammar.words()
    if grammar.weighted:
        # The first to arrive, at rates in proportion to their probabilities.
        waits = torch.empty(len(words), dtype=torch.float64).exponential_(generator=random)
        order = (grammar.probability(words) / waits).topk(n).indices
    else:
        order = torch.randperm(len(words), generator=random)[:n]
    return words[order]


def _distinct(grammar: Grammar, n: int, random: torch.Generator) -> Tensor:
    words = grammar.sample(n, random)
    for _ in range(ROUNDS):
        if len(words := _first_occurrences(words)) >= n:
            return words[:n]
        words = torch.cat([words, grammar.sample(n, random)])
    raise UsageError(
        f"among {ROUNDS * n:,} words of the language only {len(words):,} are distinct: its weights "
        f"are too unequal for a training set of {n:,}"
    )


def _first_occurrences(words: Tensor) -> Tensor:
    _, first = np.unique(_keys(words), return_index=True)
    return words[torch.from_numpy(np.sort(first))]


def _keys(words: Tensor) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """One opaque value per word, equal where the words are."""
    rows = np.ascontiguousarray(words.cpu().numpy().astype(np.int32))
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
