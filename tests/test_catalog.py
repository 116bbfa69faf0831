import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffprobe.datasets import DigitSum, Grammar, ModularSum, Parity, WordList
from diffprobe.errors import UsageError

SMALL = [Parity(6), ModularSum(4, 5, 3), ModularSum(3, 4, 4), DigitSum()]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 2**31))
def test_valid_exactly_where_no_violation_is_named(grammar: Grammar, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(grammar.symbols, (50, grammar.length), generator=random)
    kinds = torch.stack(list(grammar.violations(words).values()))
    assert torch.equal(grammar.contains(words), ~kinds.any(0))
    assert (kinds.sum(0) <= 1).all()


def test_parity_is_an_even_number_of_the_second_symbol() -> None:
    for word in itertools.product(range(2), repeat=5):
        assert Parity(5).contains(torch.tensor([word])).item() == (sum(word) % 2 == 0)


def test_modular_sum_names_by_how_much() -> None:
    words = torch.tensor([[4, 4, 2], [4, 4, 3], [4, 4, 1], [9, 9, 7]])
    kinds = ModularSum(3, 10, 10).violations(words)
    assert not any(found[0] for found in kinds.values())
    assert kinds["off by 1"].tolist() == [False, True, False, False]
    assert kinds["off by -1"].tolist() == [False, False, True, False]
    assert kinds["off by 5"].tolist() == [False, False, False, True]


def test_digit_sum_has_the_published_numbers() -> None:
    grammar = DigitSum()
    quadruples = itertools.product(range(10), repeat=4)
    assert grammar.count() == sum(a + b == c + d for a, b, c, d in quadruples) == 670
    assert grammar.uniform_rate() == pytest.approx(0.0670)
    assert grammar.product_rate() == pytest.approx(0.0705, abs=5e-5)


@pytest.mark.parametrize("length", [0, -1, 2.0, True])
def test_lengths_must_be_positive_integers(length: int) -> None:
    with pytest.raises(UsageError, match="length must be a positive integer"):
        Parity(length)


def test_word_lists() -> None:
    words = torch.tensor([[0, 2], [1, 1], [2, 2]])
    grammar = WordList(words)
    assert grammar.count() == 3
    assert torch.equal(grammar.words(), words)
    assert grammar.distance(torch.tensor([[0, 0], [1, 1]])).tolist() == [1, 0]
    with pytest.raises(UsageError, match="appears twice"):
        WordList(torch.tensor([[0, 1], [0, 1]]))
    with pytest.raises(UsageError, match="at least one"):
        WordList(torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(UsageError, match="outside the alphabet"):
        WordList(words, symbols=2)
