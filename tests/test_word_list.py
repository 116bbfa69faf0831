import pytest
import torch
from enumeration import check_by_enumeration
from hypothesis import given, settings
from hypothesis import strategies as st

from diffprobe.datasets import WordList
from diffprobe.foundations.errors import UsageError


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(*[st.integers(0, 2)] * 3), st.floats(1e-3, 1e3), min_size=1, max_size=8
    ),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_everything_follows_from_enumeration(
    weight_of: dict[tuple[int, ...], float], weighted: bool, seed: int
) -> None:
    words = torch.tensor(sorted(weight_of))
    weights = torch.tensor([weight_of[w] for w in sorted(weight_of)], dtype=torch.float64)
    if weighted:
        check_by_enumeration(WordList(words, 3, weights), words, weights, seed)
    else:
        check_by_enumeration(WordList(words, 3), words, seed=seed)


def test_a_second_column_holds_weights() -> None:
    text = "ab\t0.5\n\n ba\t 2e1 \nbb\n"
    found = WordList.parse(text)
    assert found.list.tolist() == [[0, 1], [1, 0], [1, 1]]
    check_by_enumeration(found, found.list, torch.tensor([0.5, 20, 1]))
    assert not WordList.parse("ab\nba\t1").weighted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no words in the text"),
        ("ab\nabc", "line 2: the word 'abc' has 3 symbols; the first one 2"),
        ("ab\na?", "line 2, column 2: '\\?' is not among the symbols a b"),
        ("ab\t1\nba\tone", "line 2, column 4: a weight is a positive number, not 'one'"),
        ("ab\t 0", "line 1, column 5: a weight is a positive number, not '0'"),
        ("ab\t-1", "line 1, column 4: a weight is a positive number, not '-1'"),
        ("ab\tinf", "line 1, column 4: a weight is a positive number, not 'inf'"),
        ("ab\t1\t2", "a weight is a positive number, not '1.t2'"),
        ("ab\nba\nab", "the word .0, 1. appears twice"),
    ],
)
def test_bad_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WordList.parse(text, "ab")


def test_weights_need_one_a_word() -> None:
    words = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(UsageError, match=r"weights have shape \(3,\), not \(2,\)"):
        WordList(words, 2, [1, 2, 3])
    with pytest.raises(UsageError, match="weight 1 is -1; weights are positive"):
        WordList(words, 2, [1, -1])
