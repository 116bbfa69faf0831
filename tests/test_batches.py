import pytest
import torch

from diffprobe.config import Config
from diffprobe.datasets.stream import FreshWords, Stream
from diffprobe.foundations.seeding import generator
from diffprobe.resolution import resolve
from diffprobe.training import batches
from diffprobe.training.batches import Batches

STREAMS = {
    "fresh": [],
    "finite": ["stream.words=5"],
    "epochs": ["stream.words=5", "stream.epochs=100"],
    "every-word": ["training.batch_size=8"],
    "curriculum": ["stream.samples=400", "stream.corruption='blurred'", "stream.rate=1.0"],
}


def made(config: Config) -> Batches:
    dataset = config.dataset()
    stream = config.stream.build(dataset.grammar)
    return Batches(stream, dataset, config.training, torch.device("cpu"))


@pytest.mark.parametrize("name", STREAMS)
def test_a_block_holds_what_each_step_draws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BLOCK_STEPS", 4)
    config = resolve(
        assignments=[
            *("grammar.length=4", "images.grid=[1, 4]", "training.steps=10"),
            *("training.batch_size=3", f"stream.name={name!r}", *STREAMS[name]),
        ]
    )
    drawn = made(config)
    for step in range(10):
        x_0, _, random = drawn.draw(step)
        alone = generator(config.training.seed, "training/0", step)
        n = config.training.batch_size
        (wanted,) = drawn.stream.draw_steps(drawn.dataset, [step], n, [alone])
        assert torch.equal(x_0, wanted)
        # What the step draws next goes on from there.
        assert torch.equal(torch.rand(3, generator=random), torch.rand(3, generator=alone))


def test_a_step_is_the_same_wherever_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BLOCK_STEPS", 4)
    config = resolve(preset="demo", assignments=["training.steps=11"])
    through = made(config)
    all_of_them = [through.draw(step)[0] for step in range(11)]
    for first in (3, 8, 10):
        resumed = made(config)
        for step in range(first, 11):
            assert torch.equal(resumed.draw(step)[0], all_of_them[step])


def test_blocks_are_bounded_by_memory() -> None:
    config = resolve(preset="demo", assignments=["training.batch_size=4096"])
    drawn = made(config)
    pixels = 1 * 8 * 48
    assert drawn.block == 2**22 // (4096 * pixels) == 2
    assert made(resolve(preset="hypercube-mlp")).block == 64


def test_a_stream_from_outside_needs_no_blocks() -> None:
    """A stream that only draws step by step is asked for each."""

    asked: list[int] = []

    class Outside(Stream):
        description = "words of its own"

        def draw(self, step: int, n: int, generator: torch.Generator) -> torch.Tensor:
            asked.append(step)
            return self.grammar.sample(n, generator)

        language = FreshWords.language

    config = resolve(preset="demo", assignments=["training.steps=3"])
    dataset = config.dataset()
    stream = Outside(dataset.grammar)
    Batches(stream, dataset, config.training, torch.device("cpu")).draw(0)
    assert asked == [0, 1, 2]
