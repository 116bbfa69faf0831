"""A grammar given by listing its words."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar, log_weights
from diffprobe.datasets.inference.semiring import Semiring
from diffprobe.foundations.errors import UsageError


class WordList(Grammar):
    """The language of exactly these words.

    Args:
        words: (M, L) long, distinct.
        symbols: V; by default one more than the largest symbol.
        weights: (M,) positive, in proportion to the words' probabilities; by default all are 1.

    Raises:
        UsageError: If there is no word, one appears twice, a symbol is outside the alphabet, or
            a weight is not positive and finite.
    """

    def __init__(
        self,
        words: Tensor,
        symbols: int | None = None,
        weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        if words.ndim != 2 or 0 in words.shape or words.is_floating_point():
            raise UsageError(
                f"words must be integers of shape (M, L), at least one; got {words.dtype} "
                f"of shape {tuple(words.shape)}"
            )
        self.length = words.shape[1]
        self.symbols = int(words.max()) + 1 if symbols is None else symbols
        self.check_words(words)
        unique, counts = words.unique(dim=0, return_counts=True)
        if len(unique) < len(words):
            twice = unique[counts > 1][0].tolist()
            raise UsageError(f"the word {twice} appears twice")
        self.list = words.long()
        used = torch.ones(len(words), dtype=torch.bool)
        self.log_weights = None if weights is None else log_weights(weights, used)
        self.weighted = self.log_weights is not None

    @classmethod
    def parse(cls, text: str, symbols: Sequence[str] | None = None) -> "WordList":
        """Read one word a line, one character a cell; empty lines are passed over.

        Args:
            text: The words. After a tab a line may hold the word's weight; without, it is 1.
            symbols: The V characters in order; by default those that appear, sorted.

        Raises:
            UsageError: If there is no word, words differ in length, a character is none of the
                symbols, or a weight is not a positive number.
        """
        lines, weights = [], []
        for n, line in enumerate(text.splitlines(), start=1):
            word, tab, weight = line.strip().partition("\t")
            if word:
                lines.append((n, word.rstrip()))
                weights.append(_weight(weight, n, line) if tab else 1.0)
        if not lines:
            raise UsageError("there are no words in the text")
        alphabet = sorted({c for _, line in lines for c in line}) if symbols is None else symbols
        number = {character: index for index, character in enumerate(alphabet)}
        length = len(lines[0][1])
        for n, line in lines:
            if len(line) != length:
                raise UsageError(
                    f"line {n}: the word {line!r} has {len(line)} symbols; the first one {length}"
                )
            for column, character in enumerate(line, start=1):
                if character not in number:
                    raise UsageError(
                        f"line {n}, column {column}: {character!r} is not among the symbols "
                        f"{' '.join(alphabet)}"
                    )
        words = torch.tensor([[number[c] for c in line] for _, line in lines])
        return cls(words, len(alphabet), weights)

    @property
    def elements_per_row(self) -> int:
        """Each row gathers the scores of every word's every cell."""
        return self.list.numel()

    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over the listed words of the product of `scores (B, L, V)`: (B,)."""
        words = self.list.to(scores.device)
        total = scores[:, 0].index_select(1, words[:, 0])
        for cell in range(1, self.length):
            total = semiring.mul(total, scores[:, cell].index_select(1, words[:, cell]))
        return semiring.sum(semiring.weigh(total, self.log_weights), -1)


def _weight(text: str, number: int, line: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        column = len(line.rstrip()) - len(text.strip()) + 1
        raise UsageError(
            f"line {number}, column {column}: a weight is a positive number, not {text.strip()!r}"
        )
    return weight
