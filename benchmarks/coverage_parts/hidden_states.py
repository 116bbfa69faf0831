"""Hidden states: the whole procedure repeated, with fresh images, words to test on and labels.

The features are random ones of the noisy word, as those of an untrained network, or hold a noisy
copy of the answer that is wrong for a fifth of the words. The truth is the mean over the repeats.
"""

from collections.abc import Iterator

import torch

from coverage_parts.table import Row
from diffprobe.datasets import Grammar
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import intervals
from diffprobe.probes.hidden_states import layer_probes, word_splits
from diffprobe.probes.hidden_states.validity import mixed_words

IMAGES_PER_WORD = 4
NUMBERS = ("accuracy", "difference", "shared", "control", "selectivity")


def rows(repeats: int) -> Iterator[Row]:
    """Yield the rows of two languages and two kinds of features."""
    for name, grammar, images in (
        ("parity 6", ParityConfig(6).build(), 512),
        ("brackets", DyckConfig(8, 2).build(), 1024),
    ):
        for knows in (False, True):
            found = [_one(grammar, images, knows, seed) for seed in range(repeats)]
            where = f"{name}, {'half-knowing' if knows else 'random'} features"
            for what, told in zip(NUMBERS, zip(*found, strict=True), strict=True):
                together = intervals.stacked(list(told))
                yield Row.of(where, f"hidden states, {what}", together, together.value.mean())


def _one(grammar: Grammar, images: int, knows: bool, seed: int) -> list[intervals.Interval]:
    fixed = torch.Generator().manual_seed(1)
    width, inputs = 48, grammar.length * grammar.symbols
    first, second = torch.randn(2, inputs, width, generator=fixed)
    bias = torch.randn(width, generator=fixed)
    random = torch.Generator().manual_seed(100 + seed)
    drawn = mixed_words(grammar, images // (2 * IMAGES_PER_WORD), random)
    words = drawn.repeat_interleave(IMAGES_PER_WORD, 0)
    labels = grammar.contains(words)
    _, word = words.unique(dim=0, return_inverse=True)
    x = torch.nn.functional.one_hot(words, grammar.symbols).flatten(1).float() * 2 - 1
    x = x + 0.5 * torch.randn(x.shape, generator=random)
    features, untrained = torch.relu(x @ first + bias), torch.relu(x @ second + bias)
    if knows:
        wrong = (torch.rand(int(word.max()) + 1, generator=random) < 0.2)[word]
        answer = torch.where(labels ^ wrong, 1.0, -1.0)[:, None]
        noisy = answer + torch.randn(len(x), 1, generator=random)
        features = torch.cat([features[:, :16], 3 * noisy], 1)
    split = word_splits.by_word(word, labels, random)
    right, _ = layer_probes.answers(features, labels, split)
    control, _ = layer_probes.answers(untrained, labels, split)
    sources = word[split.test]
    shared, seen, at_random = layer_probes.shared_answers(features, word, labels, 3, random)
    over = layer_probes.over_words
    return [
        over(right, sources),
        over(right - control, sources, least=-1.0),
        over(seen, word[shared]),
        over(at_random, word[shared]),
        over(seen - at_random, word[shared], least=-1.0),
    ]
