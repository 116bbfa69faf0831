import torch

from diffprobe.datasets import Glyphs, Grammar, SymbolImages
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.evaluation.words import distribution


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world(grammar: Grammar) -> SymbolImages:
    names = "0123456789"[: grammar.symbols]
    return SymbolImages(grammar, Glyphs.font(names), (1, grammar.length))


def test_recalling_the_training_set_leaves_the_rest_uncovered() -> None:
    dataset = world(DigitSumConfig().build())
    split = FiniteWords(dataset.grammar, 200, seed=1)
    recalled = distribution.measure(dataset, split.draw(0, 1000, seeded()), split)
    assert recalled.held_out.seen == 0
    assert recalled.held_out.low > 300
    assert recalled.held_out.words == 470
    assert recalled.effective_words.contains(200)
    assert recalled.effective_words.high < 670
    assert recalled.coverage.seen <= 200
    fair = distribution.measure(dataset, dataset.grammar.sample(1000, seeded(1)), split)
    assert fair.held_out.low <= fair.held_out.seen <= fair.held_out.high
    assert fair.effective_words.contains(670)
