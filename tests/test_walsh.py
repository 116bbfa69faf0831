import pytest
import torch
from populations import all_words

from diffprobe.datasets import Automaton, Grammar, hypercube
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation.words import distribution, walsh

PARITY = hypercube(ParityConfig(6).build())

NO_DOUBLE_ONE = Automaton([[0, 1], [0, -1]], accept=[0, 1], length=5, weights=[[1, 2], [3, 1]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "grammar", [ParityConfig(4).build(), NO_DOUBLE_ONE, DyckConfig(6, 1).build()]
)
def test_the_transform_and_the_signed_recursion_are_sums_over_words(grammar: Grammar) -> None:
    words, length = grammar.words(), grammar.length
    p = grammar.probability(words)
    masks = all_words(ParityConfig(length).build())
    expected = torch.stack([p @ (1 - 2 * ((words * m).sum(1) % 2)).double() for m in masks])
    torch.testing.assert_close(walsh._exact(grammar, masks), expected)
    torch.testing.assert_close(walsh._every(grammar), expected)


def test_parity_shows_in_the_last_order_alone() -> None:
    words = PARITY.grammar.sample(1000, seeded())
    found = distribution.measure(PARITY, words)
    *lower, last = found.walsh.energy
    assert all(energy.contains(0) for energy in lower)
    assert last.value == 1
    assert (found.walsh.parity.value, found.walsh.parity.language) == (1, 1)
    assert found.walsh.subsets == (6, 15, 20, 15, 6, 1)
    assert found.correlations.captured.value is None
    flipped = words.clone()
    flipped[:250, 0] ^= 1
    assert distribution.measure(PARITY, flipped).walsh.parity.value == 0.5


def test_subsets_drawn_give_what_all_subsets_give(monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.randint(2, (300, 6), generator=seeded())
    every = walsh.measure(ParityConfig(6).build(), words)
    monkeypatch.setattr(walsh, "FULL", 5)
    drawn = walsh.measure(ParityConfig(6).build(), words)
    assert drawn.subsets == every.subsets
    for a, b in zip(every.energy, drawn.energy, strict=True):
        assert (a.value, a.low, a.high, a.language) == pytest.approx(
            (b.value, b.low, b.high, b.language)
        )
