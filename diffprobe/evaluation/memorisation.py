"""Did a network learn the rule or its training set? What samples of a finite training set are.

Each legible sample is a training word, a held-out valid word, or invalid. Sampling the language
exactly would give training words at their probability in it (n / count without weights), and that
is the line to compare with: a network that recalls its training set lies above it, one that learned
the rule on it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import Stream, SymbolImages, WordList
from diffprobe.datasets.stored_images import Pictures, pieces
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import Rate, wilson
from diffprobe.foundations.tables import Table


@dataclass(frozen=True, repr=False)
class Memorisation(Table):
    """Shares of training words, and distances to training images.

    Attributes:
        training: Share of the legible samples whose word is in the training set.
        held_out: Share whose word is valid and held out.
        invalid: Share whose word is not valid.
        recalled: Share of training words among the valid samples.
        uniform: What `recalled` would be for exact sampling of the language: the training words'
            probability in it; n / count without weights.
        training_words: n.
        nearest_is_training: Share of all samples, legible or not, that lie as near to an image of
            a training word as to any valid image, in any variants of the glyphs.
        distance_to_training: (N,) root-mean-square distance per pixel to the nearest image of a
            training word; NaN for samples that are not finite.
        distance_to_valid: (N,) the same for any valid word.
    """

    training: Rate
    held_out: Rate
    invalid: Rate
    recalled: Rate
    uniform: float
    training_words: int
    nearest_is_training: Rate
    distance_to_training: Tensor
    distance_to_valid: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each share, beside what exact sampling would give."""
        rates = (
            ("training word, of the legible", self.training, self.uniform),
            ("held out, of the legible", self.held_out, 1 - self.uniform),
            ("invalid, of the legible", self.invalid, 0.0),
            ("training word, of the valid", self.recalled, self.uniform),
            ("nearest to a training image", self.nearest_is_training, self.uniform),
        )
        return [{"share": name, **rate.rows()[0], "exact": exact} for name, rate, exact in rates]

    def __repr__(self) -> str:
        return f"<Memorisation beside {self.training_words:,} training words: {self.recalled}>"

    def summary(self) -> dict[str, Any]:
        """Return the shares and the mean distances, each with its interval."""
        return {
            "training_words": self.training_words,
            "training": self.training,
            "held_out": self.held_out,
            "invalid": self.invalid,
            "recalled": self.recalled,
            "uniform": self.uniform,
            "nearest_is_training": self.nearest_is_training,
            "distance_to_training": intervals.mean(self.distance_to_training).estimate(),
            "distance_to_valid": intervals.mean(self.distance_to_valid).estimate(),
        }


def measure(
    dataset: SymbolImages, stream: Stream, images: Pictures, verdicts: Verdicts
) -> Memorisation:
    """Compare samples with the training set.

    Args:
        dataset: Glyphs and grammar.
        stream: Its finite training set.
        images: (N, 1, H, W), the samples.
        verdicts: Of these samples.

    Raises:
        UsageError: If training draws fresh words for ever.
    """
    if stream.training is None:
        raise UsageError("memorisation needs a finite training set; this one draws fresh words")
    legible, valid = verdicts.legible, verdicts.grammatical
    known = stream.is_training(verdicts.words) & valid
    n, recalled = int(legible.sum()), int(known.sum())
    listed = WordList(stream.training, dataset.grammar.symbols)
    # The nearest image of a language is a best word under minus the squared distances.
    grammar, found = dataset.grammar, []
    for piece in pieces(images, 8 * grammar.symbols * grammar.length):
        squares = dataset.symbol_distances(piece).double().square()
        whole = squares.isfinite().all(-1).all(-1)
        near = [-each.best(-squares[whole]) / grammar.length for each in (listed, grammar)]
        found.append((whole, *near))
    finite, to_training, to_valid = map(torch.cat, zip(*found, strict=True))
    return Memorisation(
        training=wilson(recalled, n),
        held_out=wilson(int(valid.sum()) - recalled, n),
        invalid=wilson(n - int(valid.sum()), n),
        recalled=wilson(recalled, int(valid.sum())),
        uniform=stream.training_share(),
        training_words=len(stream.training),
        nearest_is_training=wilson(
            int((to_training <= to_valid * (1 + 1e-9)).sum()), int(finite.sum())
        ),
        distance_to_training=_spread(to_training.sqrt(), finite),
        distance_to_valid=_spread(to_valid.sqrt(), finite),
    )


def _spread(values: Tensor, where: Tensor) -> Tensor:
    return torch.full(where.shape, torch.nan, dtype=values.dtype).masked_scatter(where, values)
