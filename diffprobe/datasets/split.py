"""Which valid words a network is trained on: all of them for ever, or a finite set."""

import numpy as np
import torch
from torch import Tensor

from diffprobe.datasets.grammar import Grammar
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded

# Languages up to this size are listed; a training set of a larger one is drawn until distinct.
LISTED = 2**16
# The least probability that weights must leave for the words held out, drawn by rejection.
HELD_OUT = 0.01
# Draws of the whole training set before its words are too rare to be found.
ROUNDS = 100


class WordSplit:
    """A training set of `n` distinct valid words, the other valid words held out.

    Args:
        grammar: Whose words are split.
        n: Size of the training set; 0 stands for fresh words for ever, nothing held out.
        seed: Which words; the same seed gives the same set.

    Attributes:
        training: (n, L) long, or None where words are fresh. Drawn without replacement: with
            weights, likely words are in it sooner.
        weights: (n,) float64, the training words' probabilities in the language; None where all
            are equally likely. They are trained on in proportion to these.

    Raises:
        UsageError: If `n` is negative or leaves no word to hold out, or hardly any by weight.
    """

    def __init__(self, grammar: Grammar, n: int = 0, seed: int = 0) -> None:
        self.grammar = grammar
        self.training: Tensor | None = None
        self.weights: Tensor | None = None
        count = grammar.count()
        if n == 0:
            return
        if not 0 < n < count:
            raise UsageError(
                f"a training set of {n:,} words does not fit: the language has {count:,} "
                "valid words, and at least one is held out (0 trains on fresh words for ever)"
            )
        random = seeded(seed, "training words")
        if count <= LISTED:
            words = grammar.words()
            if grammar.weighted:
                # The first to arrive, at rates in proportion to their probabilities.
                waits = torch.empty(len(words), dtype=torch.float64).exponential_(generator=random)
                order = (grammar.probability(words) / waits).topk(n).indices
            else:
                order = torch.randperm(len(words), generator=random)[:n]
            self.training = words[order]
        elif n > count // 2:
            raise UsageError(f"a training set of more than half of {count:,} words is too large")
        else:
            self.training = _distinct(grammar, n, random)
        if grammar.weighted:
            self.weights = grammar.probability(self.training)
            if self.training_share() > 1 - HELD_OUT:
                raise UsageError(
                    f"a training set of {n:,} words has {self.training_share():.2%} of the "
                    f"language's probability: less than {HELD_OUT:.0%} is held out"
                )

    def training_share(self) -> float:
        """Return the share of training words among words of the language; 0 where all are fresh."""
        if self.training is None:
            return 0.0
        if self.weights is None:
            return len(self.training) / self.grammar.count()
        return float(self.weights.sum())

    def draw_training(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` words to train on, with replacement: (n, L) long on the generator's device."""
        if self.training is None:
            return self.grammar.sample(n, generator)
        device = generator.device
        if self.weights is None:
            index = torch.randint(len(self.training), (n,), generator=generator, device=device)
        else:
            weights = self.weights.to(device)
            index = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.training.to(device)[index]

    def draw_held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` valid words that are not trained on; any valid words where all are fresh."""
        words = self.grammar.sample(n, generator)
        while (known := self.is_training(words)).any():
            words[known] = self.grammar.sample(int(known.sum()), generator)
        return words

    def is_training(self, words: Tensor) -> Tensor:
        """Return whether each word of `words (N, L)` is in the training set: (N,) bool."""
        if self.training is None:
            return torch.zeros(len(words), dtype=torch.bool, device=words.device)
        known = np.isin(_keys(words), _keys(self.training))
        return torch.from_numpy(known).to(words.device)


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
