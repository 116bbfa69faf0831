"""What a training sees, step by step: words, drawn from a language or from a finite set.

Samples that differ in quality have a module of their own, `curriculum`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.mixture import Mixture
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
        length: How many words can be drawn; None where it never ends.
        plain: Whether images are drawn as the world draws them. Where not, nothing here knows the
            optimum for what training sees.
    """

    training: Tensor | None = None
    length: int | None = None
    plain: bool = True

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.grammar.title}: {self.description}>"

    @property
    @abstractmethod
    def description(self) -> str:
        """What is trained on, in words that follow "trained on"."""

    def check(self, steps: int, batch_size: int) -> None:
        """Raise UsageError unless the stream lasts for `steps` of `batch_size` words each."""
        if self.length is not None and steps * batch_size > self.length:
            raise UsageError(
                f"the stream has {self.length:,} words ({self.description}), enough for "
                f"{self.length // batch_size:,} steps of {batch_size:,}; {steps:,} are asked for"
            )

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
    def language(self, step: int | None = None, n: int = 1) -> Grammar:
        """Return the distribution that training draws from at a step, or over all of it.

        It is what an oracle of the training data knows; the world's grammar itself where training
        draws from that.

        Args:
            step: Steps done before; None for all steps alike.
            n: How many words a step has.
        """

    def render(
        self, images: "SymbolImages", words: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Draw the images of words that `draw` gave: (n, C, H, W), variants at random."""
        return images.draw(words, generator)

    def draw_steps(
        self,
        images: "SymbolImages",
        steps: Sequence[int],
        n: int,
        generators: Sequence[torch.Generator],
    ) -> list[Tensor]:
        """Draw the images of several steps, as many words and images of each: (n, C, H, W) each.

        What a step sees depends on its own generator alone.

        Args:
            images: The world.
            steps: Steps done before each.
            n: How many images of each.
            generators: One for each.
        """
        return [
            self.render(images, self.draw(step, n, random), step, random)
            for step, random in zip(steps, generators, strict=True)
        ]

    def draw_images(self, images: "SymbolImages", n: int, generator: torch.Generator) -> Tensor:
        """Draw images as training has them at any of its steps: (n, C, H, W)."""
        return self.render(images, self.draw(0, n, generator), 0, generator)

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

    @property
    def description(self) -> str:
        """All words; see `Stream.description`."""
        return "all of them"

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the language; see `Stream.draw`."""
        return self.grammar.sample(n, generator)

    def draw_steps(
        self,
        images: "SymbolImages",
        steps: Sequence[int],
        n: int,
        generators: Sequence[torch.Generator],
    ) -> list[Tensor]:
        """Draw the images of several steps at once; see `Stream.draw_steps`."""
        return [*images.draw_each(self.grammar.sample_each(n, generators), generators)]

    def language(self, step: int | None = None, n: int = 1) -> Grammar:
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

    @property
    def description(self) -> str:
        """How many words; see `Stream.description`."""
        return f"{len(self.training):,} of them, the others held out"

    def redrawn(self, seed: int) -> "FiniteWords":
        """Return a stream of as many words that are drawn as these were, with another seed."""
        return FiniteWords(self.grammar, len(self.training), seed)

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the training set, with replacement; see `Stream.draw`."""
        device = generator.device
        if self.weights is None:
            index = torch.randint(len(self.training), (n,), generator=generator, device=device)
        else:
            weights = self.weights.to(device)
            index = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.training.to(device)[index]

    def language(self, step: int | None = None, n: int = 1) -> Grammar:
        """Return the training words as a language."""
        return WordList(self.training, self.grammar.symbols, self.weights)


class EpochWords(FiniteWords):
    """`n` distinct valid words, each once an epoch in an order of its own.

    Args:
        grammar: Whose words they are.
        n: Size of the training set.
        epochs: How often each word is seen; 0 never ends.
        seed: Which words, and in which order. However likely a word is in the language, it is seen
            as often as any other.

    Raises:
        UsageError: As for `FiniteWords`.
    """

    def __init__(self, grammar: Grammar, n: int, epochs: int, seed: int = 0) -> None:
        super().__init__(grammar, n, seed)
        self.weights = None
        self.epochs = epochs
        self.length = epochs * n or None
        self._order = -1, self.training

    @property
    def description(self) -> str:
        """How many words, and how often; see `Stream.description`."""
        often = f"{self.epochs:,} times each" if self.epochs else "again and again"
        return f"{len(self.training):,} of them {often}, the others held out"

    def redrawn(self, seed: int) -> "EpochWords":
        """Return a stream of as many words; see `FiniteWords.redrawn`."""
        return EpochWords(self.grammar, len(self.training), self.epochs, seed)

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return the words that are next; nothing is random. See `Stream.draw`.

        Raises:
            UsageError: Past the end of the last epoch.
        """
        self.check(step + 1, n)
        size = len(self.training)
        places = torch.arange(step * n, (step + 1) * n)
        epochs = range(step * n // size, ((step + 1) * n - 1) // size + 1)
        parts = [self._in_order(epoch)[places[places // size == epoch] % size] for epoch in epochs]
        return torch.cat(parts).to(generator.device)

    def draw_images(self, images: "SymbolImages", n: int, generator: torch.Generator) -> Tensor:
        """Draw images of any words of the set; see `Stream.draw_images`."""
        return images.draw(super().draw(0, n, generator), generator)

    def _in_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = torch.randperm(len(self.training), generator=seeded(self.seed, "epoch", epoch))
            self._order = epoch, self.training[order]
        return self._order[1]


class MixtureWords(Stream):
    """Words of several grammars, drawn anew at every step for ever.

    Args:
        grammar: The world's, by which samples are judged; it may be another.
        mixture: Of what is trained on.

    Raises:
        UsageError: If their words differ in length or alphabet.
    """

    def __init__(self, grammar: Grammar, mixture: Mixture) -> None:
        super().__init__(grammar)
        if (mixture.length, mixture.symbols) != (grammar.length, grammar.symbols):
            raise UsageError(
                f"the stream has words of {mixture.length} cells over {mixture.symbols} symbols; "
                f"those of the grammar ({grammar.title}) have {grammar.length} over "
                f"{grammar.symbols}"
            )
        self.mixture = mixture

    @property
    def description(self) -> str:
        """Each component's share; see `Stream.description`."""
        parts = zip(self.mixture.components, self.mixture.shares.tolist(), strict=True)
        return "words of " + ", ".join(f"{each.title} ({share:.0%})" for each, share in parts)

    def draw(self, step: int, n: int, generator: torch.Generator) -> Tensor:
        """Return words of the mixture; see `Stream.draw`."""
        return self.mixture.sample(n, generator)

    def draw_with_components(
        self, step: int, n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the words that `draw` returns, and the component each is of.

        Returns:
            words (n, L) long, component (n,) long.
        """
        return self.mixture.sample_with_components(n, generator)

    def language(self, step: int | None = None, n: int = 1) -> Grammar:
        """Return the mixture."""
        return self.mixture


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
