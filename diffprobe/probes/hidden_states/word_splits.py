"""How the images of a linear probe are parted, when many images are of the same word.

A probe that has seen a word may know it again without knowing any rule. Two splits, each with half
of the images for testing, a tenth to choose the penalty and the rest to train on, tell the two
apart:

    by word     no word of one part is in another: what is tested is whether a rule was found
    by image    every word that is tested is trained on: recognising words is enough

and for the second a control task, labels that are random but the same for all images of a word:
what a probe scores there it has by recognising words.

Reference:
    Hewitt & Liang, "Designing and interpreting probes with control tasks", arXiv:1909.03368.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Of each five pairs the half that is not for testing chooses the penalty once.
PAIRS = 5
TRAIN, VALIDATION, TEST = range(3)


@dataclass(frozen=True)
class Split:
    """Three parts of N images.

    Attributes:
        train, validation, test: (M,) long, indices of images. Of these to validate and to test on
            half are of either label.
    """

    train: Tensor
    validation: Tensor
    test: Tensor


def by_word(words: Tensor, labels: Tensor, random: torch.Generator) -> Split:
    """Return a split of the words: no word is in two parts.

    Of either label half of the words are for testing, and of words that are equally frequent half.

    Args:
        words: (N,) long, which word each image is of.
        labels: (N,) bool, the same for all images of a word.
        random: For the draw.
    """
    part = torch.full((int(words.max()) + 1,), TRAIN)
    for label in (True, False):
        ranked = _by_frequency(words[labels == label], random)
        part[ranked] = _dealt(len(ranked), random)
    return _balanced(part[words], labels, random)


def by_image(words: Tensor, labels: Tensor, random: torch.Generator) -> Split:
    """Return a split of each word's images: what is tested or validated is trained on too.

    Images of words that occur once are in no part.

    Args:
        words, labels, random: As for `by_word`.
    """
    shuffled = torch.randperm(len(words), generator=random)
    order = shuffled[words[shuffled].argsort(stable=True)]
    counts = words.bincount()
    # The how-manieth image of its word.
    place = torch.arange(len(words)) - (counts.cumsum(0) - counts)[words[order]]
    part = torch.where(place % 2 == 0, TEST, TRAIN)
    # Not a word's first image in training, so that none is validated without being trained on.
    spare = (place % 4 == 3).nonzero()[:, 0]
    spare = spare[torch.randperm(len(spare), generator=random)]
    part[spare[: 2 * len(spare) // PAIRS]] = VALIDATION
    part[counts[words[order]] < 2] = -1
    part = part[order.argsort()]
    # Not balanced, since that would leave out some words' only image.
    return replace(_balanced(part, labels, random), train=(part == TRAIN).nonzero()[:, 0])


def random_labels(words: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Return labels that are random but the same for all images of a word: (N,) bool.

    Of the words of either label half get each random one, and of words that are equally frequent
    half, so that the random labels are balanced as the labels are and say nothing about them.

    Args:
        words, labels, random: As for `by_word`.
    """
    drawn = torch.zeros(int(words.max()) + 1, dtype=torch.bool)
    for label in (True, False):
        ranked = _by_frequency(words[labels == label], random)
        drawn[ranked] = _dealt(len(ranked), random) == TEST
    return drawn[words]


def _by_frequency(words: Tensor, random: torch.Generator) -> Tensor:
    """The distinct words, the most frequent first, in random order where equally frequent."""
    distinct, counts = words.unique(return_counts=True)
    shuffled = torch.randperm(len(distinct), generator=random)
    order = shuffled[counts[shuffled].argsort(descending=True, stable=True)]
    ranked: Tensor = distinct[order]
    return ranked


def _dealt(n: int, random: torch.Generator) -> Tensor:
    """Parts of n things in a row, one of each two neighbours for testing: (n,)."""
    pair = torch.arange((n + 1) // 2)
    tested = torch.randint(2, (len(pair),), generator=random)
    other = torch.where(pair % PAIRS == PAIRS // 2, VALIDATION, TRAIN)
    dealt = other[:, None].repeat(1, 2)
    dealt[pair, tested] = TEST
    return dealt.flatten()[:n]


def _balanced(part: Tensor, labels: Tensor, random: torch.Generator) -> Split:
    """Leave out at random what one label has more of in a part."""

    def indices(which: int) -> Tensor:
        kinds = [(labels == label) & (part == which) for label in (True, False)]
        least = min(int(kind.sum()) for kind in kinds)
        drawn = []
        for kind in kinds:
            found = kind.nonzero()[:, 0]
            drawn.append(found[torch.randperm(len(found), generator=random)[:least]])
        return torch.cat(drawn)

    return Split(indices(TRAIN), indices(VALIDATION), indices(TEST))
