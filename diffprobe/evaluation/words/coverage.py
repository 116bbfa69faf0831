"""How many distinct words appear, against what exact sampling of the language would show."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.datasets import Grammar, Stream
from diffprobe.evaluation.words.estimators import digits, expected_distinct
from diffprobe.foundations.statistics import Z95


@dataclass(frozen=True)
class Coverage:
    """How many distinct words appear, against what exact sampling would show.

    Attributes:
        seen: Distinct words in the samples.
        words: Those there are.
        n: Valid samples.
        expected: Mean for n exact samples of the language.
        low, high: Central 95 % of the same.
    """

    seen: int
    words: int
    n: int
    expected: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.seen:,} of {digits(self.words)} words in {self.n:,} valid samples; exact "
            f"sampling would show {self.expected:,.1f} ({self.low:,.0f} to {self.high:,.0f})"
        )


def coverage(
    grammar: Grammar,
    seen: Tensor,
    counts: Tensor,
    listed: Tensor | None,
    stream: Stream | None,
) -> tuple[Coverage | None, Coverage | None]:
    """Return the coverage of all valid words, and of those held out.

    Args:
        grammar: The language.
        seen: (D, L), the distinct valid words.
        counts: (D,), how often each occurs.
        listed: All valid words; None if they are too many.
        stream: A training set; None, or one that draws fresh words, holds nothing out.

    Returns:
        None for both where the language is weighted and too large to list.
    """
    n, count = int(counts.sum()), grammar.count()
    training = None if stream is None else stream.training
    if not grammar.weighted:
        rates, sizes = torch.tensor([[1 / count], [count]], dtype=torch.float64)
        left = count - (0 if training is None else len(training))
        left_sizes = torch.tensor([left], dtype=torch.float64)
    elif listed is not None:
        rates, sizes = grammar.probability(listed), torch.ones(len(listed), dtype=torch.float64)
        left_sizes = sizes if stream is None else (~stream.is_training(listed)).double()
        left = int(left_sizes.sum())
    else:
        return None, None
    every = _cover(len(seen), count, n, rates, sizes)
    if stream is None or training is None:
        return every, None
    unknown = int((~stream.is_training(seen)).sum())
    return every, _cover(unknown, left, n, rates, left_sizes)


def _cover(seen: int, words: int, n: int, rates: Tensor, sizes: Tensor) -> Coverage:
    mean, deviation = expected_distinct(rates, sizes, n)
    low = max(0.0, math.floor(mean - Z95 * deviation))
    high = min(float(words), float(n), math.ceil(mean + Z95 * deviation))
    return Coverage(seen, words, n, mean, low, high)
