import pytest
import torch

from diffprobe.datasets import DigitSum, Parity, WordSplit
from diffprobe.errors import UsageError


@pytest.mark.parametrize(("grammar", "n"), [(DigitSum(), 600), (Parity(40), 500)])
def test_training_and_held_out_words_do_not_meet(grammar, n: int) -> None:  # type: ignore[no-untyped-def]
    split = WordSplit(grammar, n, seed=1)
    assert split.training is not None
    assert len(split.training.unique(dim=0)) == n
    assert grammar.contains(split.training).all()
    random = torch.Generator().manual_seed(0)
    held_out = split.draw_held_out(300, random)
    assert grammar.contains(held_out).all()
    assert not split.is_training(held_out).any()
    assert split.is_training(split.draw_training(300, random)).all()


def test_the_seed_alone_decides_the_words() -> None:
    a, b, c = (WordSplit(DigitSum(), 50, seed).training for seed in (1, 1, 2))
    assert a is not None
    assert b is not None
    assert c is not None
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_fresh_words_hold_nothing_out() -> None:
    split = WordSplit(Parity(4))
    words = split.draw_training(64, torch.Generator().manual_seed(0))
    assert len(words.unique(dim=0)) == 8
    assert not split.is_training(words).any()


@pytest.mark.parametrize("n", [-1, 8, 100])
def test_sizes_that_leave_nothing_to_hold_out(n: int) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        WordSplit(Parity(4), n)
