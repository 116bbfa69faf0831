from functools import partial

import pytest
import torch
from scipy.stats import chisquare

from diffprobe.datasets import Automaton, WordList
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords, FreshWords
from diffprobe.foundations.errors import UsageError

PLACES = torch.tensor([8, 4, 2, 1])


@pytest.mark.parametrize(
    ("grammar", "n"), [(DigitSumConfig().build(), 600), (ParityConfig(40).build(), 500)]
)
def test_training_and_held_out_words_do_not_meet(grammar, n: int) -> None:  # type: ignore[no-untyped-def]
    split = FiniteWords(grammar, n, seed=1)
    assert len(split.training.unique(dim=0)) == n
    assert grammar.contains(split.training).all()
    random = torch.Generator().manual_seed(0)
    held_out = split.draw_held_out(300, random)
    assert grammar.contains(held_out).all()
    assert not split.is_training(held_out).any()
    assert split.is_training(split.draw(0, 300, random)).all()


def test_the_seed_alone_decides_the_words() -> None:
    a, b, c = (FiniteWords(DigitSumConfig().build(), 50, seed).training for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_fresh_words_hold_nothing_out() -> None:
    split = FreshWords(ParityConfig(4).build())
    words = split.draw(0, 64, torch.Generator().manual_seed(0))
    assert len(words.unique(dim=0)) == 8
    assert not split.is_training(words).any()


@pytest.mark.parametrize("n", [-1, 8, 100])
def test_sizes_that_leave_nothing_to_hold_out(n: int) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        FiniteWords(ParityConfig(4).build(), n)


def test_words_are_trained_on_and_held_out_in_proportion_to_their_weights() -> None:
    words = torch.cartesian_prod(*[torch.arange(2)] * 4)
    weights = torch.arange(1, 17, dtype=torch.float64)
    split = FiniteWords(WordList(words, 2, weights), 6, seed=3)
    assert split.weights is not None
    known = split.is_training(words)
    assert split.weights.tolist() == pytest.approx(
        (weights[split.training @ PLACES] / 136).tolist()
    )
    assert split.training_share() == pytest.approx(weights[known].sum().item() / 136)
    random = torch.Generator().manual_seed(0)
    n = 5000
    for draw, among in ((partial(split.draw, 0), known), (split.draw_held_out, ~known)):
        found = (draw(n, random) @ PLACES).bincount(minlength=16)
        assert found[~among].sum() == 0
        expected = n * weights[among] / weights[among].sum()
        assert chisquare(found[among], expected).pvalue > 1e-3


def test_likely_words_are_sooner_in_the_training_set() -> None:
    """Drawn without replacement, whether the language is listed or not."""
    grammar = WordList(torch.tensor([[0], [1], [2]]), 3, [1, 1, 2])
    first = [FiniteWords(grammar, 1, seed).training for seed in range(400)]
    share = sum(int(w) == 2 for w in first) / 400
    assert abs(share - 0.5) < 4 * (0.25 / 400) ** 0.5


@pytest.mark.parametrize(
    ("length", "weight", "message"),
    [(4, 1e6, "less than 1% is held out"), (24, 1e6, "weights are too unequal")],
)
def test_weights_that_leave_nothing_to_draw(length: int, weight: float, message: str) -> None:
    grammar = Automaton([[0, 0]], [0], length=length, weights=[[weight, 1]])
    with pytest.raises(UsageError, match=message):
        FiniteWords(grammar, 8)


def test_an_unweighted_split_trains_on_its_share() -> None:
    assert FiniteWords(DigitSumConfig().build(), 67).training_share() == pytest.approx(0.1)
    assert FreshWords(DigitSumConfig().build()).training_share() == 0
