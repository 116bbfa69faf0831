import pytest
import torch
from torch import Tensor

from diffprobe.probes.hidden_states.word_splits import Split, by_image, by_word, random_labels


def population(n: int, words: int) -> tuple[Tensor, Tensor]:
    """Images of words that are unequally frequent; the even ones are valid."""
    random = torch.Generator().manual_seed(words)
    frequent = torch.arange(1, words + 1).double()
    word = torch.multinomial(frequent, n, replacement=True, generator=random)
    return word, word % 2 == 0


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(split: Split) -> tuple[Tensor, Tensor, Tensor]:
    return split.train, split.validation, split.test


@pytest.mark.parametrize("words", [20, 21, 64, 300])
def test_no_word_is_in_two_parts(words: int) -> None:
    word, labels = population(2000, words)
    found = parts(by_word(word, labels, drawn()))
    held = [set(word[part].tolist()) for part in found]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    for part in found:
        assert labels[part].double().mean() == 0.5
        assert len(part.unique()) == len(part)
    # Half of the words of either label, and of the images but for those that balance labels.
    for label in (True, False):
        whole = len(word[labels == label].unique())
        tested = len({w for w in held[2] if (w % 2 == 0) == label})
        assert abs(tested - whole / 2) <= 1
    assert 0.4 < len(found[2]) / len(word) < 0.6
    assert 0.02 < len(found[1]) / len(word) < 0.2


def test_other_draws_leave_other_words_for_testing() -> None:
    word, labels = population(2000, 64)
    tested = torch.zeros(64)
    for seed in range(200):
        tested[word[by_word(word, labels, drawn(seed)).test].unique()] += 1
    assert (tested - 100).abs().max() < 4 * 50**0.5
    first, again = (by_word(word, labels, drawn()) for _ in range(2))
    assert torch.equal(first.test, again.test)


@pytest.mark.parametrize("words", [20, 300])
def test_whatever_is_tested_by_image_is_trained_on(words: int) -> None:
    word, labels = population(2000, words)
    split = by_image(word, labels, drawn())
    trained, validated, tested = (set(part.tolist()) for part in parts(split))
    assert not trained & validated
    assert not trained & tested
    assert not validated & tested
    for part in (split.validation, split.test):
        assert labels[part].double().mean() == 0.5
    known = torch.isin(word, word[split.train])
    assert known[split.test].all()
    assert known[split.validation].all()
    assert 0.4 < len(split.test) / len(word) < 0.55
    assert 0.02 < len(split.validation) / len(word) < 0.15


def test_words_that_occur_once_are_in_no_split_by_image() -> None:
    word = torch.tensor([0, 1, 1, 1, 1, 2, 3, 3, 3, 3])
    labels = word < 2
    split = by_image(word, labels, drawn())
    inside = torch.cat(parts(split))
    assert not torch.isin(inside, torch.tensor([0, 5])).any()


@pytest.mark.parametrize("words", [20, 64, 300])
def test_random_labels_are_a_words_own_and_say_nothing(words: int) -> None:
    word, labels = population(4000, words)
    for seed in range(5):
        told = random_labels(word, labels, drawn(seed))
        for w in word.unique():
            assert told[word == w].unique().numel() == 1
        for label in (True, False):
            kinds = word[labels == label].unique()
            share = torch.stack([told[word == w][0] for w in kinds]).double().mean()
            assert abs(share - 0.5) <= 0.5 / len(kinds)
            assert abs(told[labels == label].double().mean() - 0.5) < 0.06
    assert not torch.equal(random_labels(word, labels, drawn(6)), told)
