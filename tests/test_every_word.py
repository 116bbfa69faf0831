"""Every word in each batch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffprobe.datasets import WordList
from diffprobe.datasets.every_word import EveryWord
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded
from diffprobe.resolution import resolve
from diffprobe.training import train

PARITY = ParityConfig(4).build()
# Eight words, twice each in a batch.
SMALL = (
    *("grammar.length=4", "images.name=pixels", "images.grid=[1, 4]", "stream.name=every-word"),
    *("network.name=mlp", "network.width=16", "optimizer.name=sgd", "learning_rate.name=constant"),
    *("learning_rate.peak=0.1", "training.batch_size=16", "training.checkpoints=1"),
    *("training.validation_size=8", "averages={}"),
)


def test_each_batch_has_each_word_equally_often() -> None:
    stream = EveryWord(PARITY)
    for step in range(3):
        words, counts = stream.draw(step, 24, seeded(step, "words")).unique(
            dim=0, return_counts=True
        )
        assert torch.equal(words, PARITY.words())
        assert counts.tolist() == [3] * 8


def test_with_weights_words_are_as_often_as_likely_up_to_one() -> None:
    stream = EveryWord(WordList(torch.tensor([[0], [1], [2]]), 3, [1, 1, 5]))
    stream.check(1, 10)
    counts = torch.stack(
        [
            stream.draw(0, 10, seeded(i, "words")).flatten().bincount(minlength=3)
            for i in range(2000)
        ]
    ).double()
    expected = torch.tensor([10 / 7, 10 / 7, 50 / 7]).double()
    assert ((counts - expected).abs() < 1).all()
    # The mean of 2,000 counts that are one of two whole numbers.
    assert ((counts.mean(0) - expected).abs() < 5 * 0.5 / 2000**0.5).all()


def test_a_batch_that_does_not_fit_is_refused_before_training(tmp_path: Path) -> None:
    config = resolve(assignments=[*SMALL, "training.batch_size=20"])
    message = r"each of 8 words equally often.*batch_size=20 is no multiple of 8: try 24"
    with pytest.raises(UsageError, match=message):
        train(config, tmp_path / "run", "cpu", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="try 8"):
        EveryWord(PARITY).draw(0, 5, seeded(0, "words"))
    with pytest.raises(UsageError, match="has 524,288 words, more than the limit"):
        EveryWord(ParityConfig(20).build())


def test_gradients_over_the_population_go_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(resolve(assignments=[*SMALL, "training.steps=8"]), tmp_path / "a", "cpu", False)
    train(resolve(assignments=[*SMALL, "training.steps=5"]), tmp_path / "b", "cpu", False)
    again = train(resolve(assignments=[*SMALL, "training.steps=8"]), tmp_path / "b", "cpu", False)
    one, other = (
        load_file(next((run.path / "checkpoints" / "step-000008").glob("*/*.safetensors")))
        for run in (whole, again)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
