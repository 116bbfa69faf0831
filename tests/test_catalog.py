import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffprobe.datasets import ContextFree, Grammar, WordList
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError

SMALL = [
    ParityConfig(6).build(),
    ModularSumConfig(4, 5, 3).build(),
    ModularSumConfig(3, 4, 4).build(),
    DigitSumConfig().build(),
    CopyConfig(6, 3).build(),
    PalindromeConfig(5, 3).build(),
    PalindromeConfig(6, 2).build(),
    DyckConfig(6, 2).build(),
    DyckConfig(10, 1).build(),
    WordList(torch.tensor([[0, 2, 1], [1, 1, 1], [2, 2, 0]])),
]

DEFINITIONS = {
    "copy": lambda w: w[: len(w) // 2] == w[len(w) // 2 :],
    "palindrome": lambda w: w == w[::-1],
    "dyck": lambda w: balanced(w),
}


def balanced(word: tuple[int, ...]) -> bool:
    stack: list[int] = []
    for symbol in word:
        if symbol % 2 == 0:
            stack.append(symbol)
        elif not stack or stack.pop() != symbol - 1:
            return False
    return not stack


@pytest.mark.parametrize(
    "grammar",
    [
        CopyConfig(6, 2).build(),
        CopyConfig(4, 3).build(),
        PalindromeConfig(1, 3).build(),
        PalindromeConfig(5, 2).build(),
        PalindromeConfig(6, 2).build(),
        DyckConfig(6, 2).build(),
    ],
    ids=lambda g: f"{g.title}-{g.length}-{g.symbols}",
)
def test_the_language_is_the_defined_one(grammar: Grammar) -> None:
    words = itertools.product(range(grammar.symbols), repeat=grammar.length)
    valid = [w for w in words if DEFINITIONS[grammar.title](w)]
    assert grammar.words().tolist() == [list(w) for w in valid]
    assert grammar.count() == len(valid)


def test_two_engines_agree_on_palindromes() -> None:
    rules = ContextFree.parse('S -> "a" S "a" | "b" S "b" | "a" | "b" | ""', 7)
    automaton = PalindromeConfig(7, 2).build()
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 7, 2, generator=random, dtype=torch.float64)
    assert torch.allclose(rules.marginals(scores), automaton.marginals(scores), atol=1e-12)


def test_long_languages_have_the_published_sizes() -> None:
    assert DyckConfig(16, 2).build().count() == 366_080
    assert DyckConfig(64, 2).build().count() == 55_534_064_877_048_198 * 2**32
    assert CopyConfig(64, 3).build().count() == PalindromeConfig(64, 3).build().count() == 3**32
    assert PalindromeConfig(63, 3).build().count() == 3**32


def test_brackets_say_what_is_wrong() -> None:
    grammar = DyckConfig(4, 2).build()
    #                      ()[]          )(()          ([))          (()(          (])[
    words = torch.tensor([[0, 1, 2, 3], [1, 0, 0, 1], [0, 2, 1, 1], [0, 0, 1, 0], [0, 3, 1, 2]])
    kinds = grammar.violations(words)
    assert kinds["closes too early"].tolist() == [False, True, False, False, True]
    assert kinds["wrong kind"].tolist() == [False, False, True, False, True]
    assert kinds["left open"].tolist() == [False, True, False, True, True]


def test_copies_say_which_positions_differ() -> None:
    kinds = (
        CopyConfig(4, 3)
        .build()
        .violations(torch.tensor([[0, 1, 0, 1], [0, 1, 2, 1], [0, 1, 1, 0]]))
    )
    assert kinds["cell 2 differs from cell 0"].tolist() == [False, True, True]
    assert kinds["cell 3 differs from cell 1"].tolist() == [False, False, True]


def test_a_users_own_grammar_says_how_far() -> None:
    kinds = WordList(torch.tensor([[0, 0, 0], [1, 1, 1]])).violations(
        torch.tensor([[0, 0, 0], [0, 1, 0]])
    )
    assert {k: v.tolist() for k, v in kinds.items()} == {
        "distance 1": [False, True],
        "distance 2": [False, False],
        "distance 3": [False, False],
    }


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 2**31))
def test_valid_exactly_where_no_violation_is_named(grammar: Grammar, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(grammar.symbols, (50, grammar.length), generator=random)
    kinds = torch.stack(list(grammar.violations(words).values()))
    assert torch.equal(grammar.contains(words), ~kinds.any(0))
    if grammar.title not in DEFINITIONS:  # the others' kinds exclude each other
        assert (kinds.sum(0) <= 1).all()


def test_parity_is_an_even_number_of_the_second_symbol() -> None:
    for word in itertools.product(range(2), repeat=5):
        assert ParityConfig(5).build().contains(torch.tensor([word])).item() == (sum(word) % 2 == 0)


def test_modular_sum_names_by_how_much() -> None:
    words = torch.tensor([[4, 4, 2], [4, 4, 3], [4, 4, 1], [9, 9, 7]])
    kinds = ModularSumConfig(3, 10, 10).build().violations(words)
    assert not any(found[0] for found in kinds.values())
    assert kinds["off by 1"].tolist() == [False, True, False, False]
    assert kinds["off by -1"].tolist() == [False, False, True, False]
    assert kinds["off by 5"].tolist() == [False, False, False, True]


def test_digit_sum_has_the_published_numbers() -> None:
    grammar = DigitSumConfig().build()
    quadruples = itertools.product(range(10), repeat=4)
    assert grammar.count() == sum(a + b == c + d for a, b, c, d in quadruples) == 670
    assert grammar.uniform_rate() == pytest.approx(0.0670)
    assert grammar.product_rate() == pytest.approx(0.0705, abs=5e-5)


@pytest.mark.parametrize("length", [0, -1, 2.0, True])
def test_lengths_must_be_positive_integers(length: int) -> None:
    with pytest.raises(UsageError, match="length must be a positive integer"):
        ParityConfig(length).build()


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


def test_word_lists_are_read() -> None:
    grammar = WordList.parse("cat\n\n dog \n", "acdgot")
    assert (grammar.length, grammar.symbols, grammar.count()) == (3, 6, 2)
    assert grammar.words().tolist() == [[1, 0, 5], [2, 4, 3]]
    assert WordList.parse("ba\nab").symbols == 2
    for text, message in (
        ("", "no words in the text"),
        ("cat\nhorse", "line 2: the word 'horse' has 5 symbols; the first one 3"),
        ("cat\ncow", "line 2, column 3: 'w' is not among the symbols a c o t"),
        ("cat\ncat", "appears twice"),
    ):
        with pytest.raises(UsageError, match=message):
            WordList.parse(text, "acot")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CopyConfig(5).build(), "a copy needs an even length, not 5"),
        (lambda: CopyConfig(4, 0).build(), "symbols must be a positive integer"),
        (lambda: PalindromeConfig(0).build(), "length must be a positive integer"),
        (lambda: DyckConfig(5).build(), "brackets need an even length, not 5"),
        (lambda: DyckConfig(4, 5).build(), "brackets of 1 to 4 kinds, not 5"),
        (lambda: DyckConfig(4, 0).build(), "kinds must be a positive integer"),
    ],
)
def test_impossible_sizes_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        make()
