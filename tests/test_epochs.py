"""Streams in an order: epochs of a finite set, and mixtures that remember where words are from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from diffprobe.config import Config
from diffprobe.datasets import Automaton, Glyphs, Mixture, SymbolImages, WordList
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.mixture import Component
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import EpochWords, FiniteWords, Stream
from diffprobe.datasets.streams.epochs import EpochsConfig
from diffprobe.datasets.streams.finite import FiniteConfig
from diffprobe.datasets.streams.mixture import MixtureStreamConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, noise_scheduler
from diffprobe.models.oracles import training_oracle
from diffprobe.probes.placement.draws import placebos
from diffprobe.training import train

PARITY = ParityConfig(6).build()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_words(stream: Stream, steps: int, n: int) -> Tensor:
    return torch.cat([stream.draw(step, n, seeded(step)) for step in range(steps)])


# ---- epochs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 7, 20])
def test_each_epoch_has_each_word_once_in_an_order_of_its_own(batch_size: int) -> None:
    stream = EpochWords(PARITY, 10, epochs=7, seed=3)
    drawn = all_words(stream, 70 // batch_size, batch_size)
    epochs = drawn[: len(drawn) // 10 * 10].reshape(-1, 10, 6)
    expected = stream.training.unique(dim=0)
    for epoch in epochs:
        assert torch.equal(epoch.unique(dim=0), expected)
    assert len({tuple(epoch.flatten().tolist()) for epoch in epochs}) == len(epochs) >= 6
    # What is drawn at a step does not depend on what was drawn before.
    again = EpochWords(PARITY, 10, epochs=7, seed=3)
    last = 70 // batch_size - 1
    assert torch.equal(again.draw(last, batch_size, seeded()), drawn[-batch_size:])
    assert torch.equal(again.draw(0, batch_size, seeded()), drawn[:batch_size])


def test_the_seed_decides_words_and_orders() -> None:
    one, other = (EpochWords(PARITY, 31, 0, seed) for seed in (0, 1))
    assert not torch.equal(one.training, other.training)
    assert torch.equal(one.training, FiniteWords(PARITY, 31, 0).training)
    assert not torch.equal(one.draw(0, 31, seeded()), one.draw(1, 31, seeded()))


def test_words_are_seen_alike_however_likely_they_are() -> None:
    grammar = WordList(torch.tensor([[0], [1], [2]]), 3, [1, 2, 97])
    stream = EpochWords(WordList(grammar.list, 3, [1, 2, 1]), 2, 5)
    counts = all_words(stream, 5, 2).flatten().bincount(minlength=3)
    assert sorted(counts.tolist()) == [0, 5, 5]
    assert stream.language().probability(stream.training).tolist() == [0.5, 0.5]


def test_the_end_is_told_before_it_comes() -> None:
    stream = EpochWords(PARITY, 10, epochs=3, seed=0)
    stream.check(7, 4)
    stream.check(3, 10)
    with pytest.raises(UsageError, match=r"has 30 words \(10 of them 3 times each.* 7 steps of 4"):
        stream.check(8, 4)
    with pytest.raises(UsageError, match="8 are asked for"):
        stream.draw(7, 4, seeded())
    EpochWords(PARITY, 10, epochs=0).check(10**9, 10**3)


def test_a_training_past_the_last_epoch_does_not_begin(tiny_config: Config, tmp_path: Path) -> None:
    # 30 steps of 16 words.
    long_enough = replace(tiny_config, stream=EpochsConfig(words=6, epochs=80))
    train(long_enough, tmp_path / "whole", "cpu")
    short = replace(tiny_config, stream=EpochsConfig(words=6, epochs=79))
    with pytest.raises(UsageError, match="474 words"):
        train(short, tmp_path / "short", "cpu")
    assert not (tmp_path / "short").exists()


def test_placebos_are_drawn_as_the_training_set_was() -> None:
    grammar = WordList(torch.arange(6)[:, None], 6, [1, 1, 1, 1, 1, 5])
    stream = EpochWords(grammar, 3, 4, seed=2)
    found = placebos(stream, 4)
    assert len(found) == 4
    for other in found:
        assert isinstance(other, EpochWords)
        assert other.weights is None
        assert len(other.training) == 3
        assert not torch.equal(other.training.unique(dim=0), stream.training.unique(dim=0))


def test_what_probes_need_of_a_finite_set() -> None:
    stream = EpochsConfig(words=100, epochs=1).build(DigitSumConfig().build())
    assert stream.training_share() == pytest.approx(100 / 670)
    held_out = stream.draw_held_out(200, seeded())
    assert not stream.is_training(held_out).any()
    world = SymbolImages(stream.grammar, Glyphs.font("0123456789"), (2, 2))
    # More images than the stream has words.
    images = stream.draw_images(world, 300, seeded())
    assert stream.is_training(world.read(images)[0]).all()
    same = FiniteConfig(words=100).build(stream.grammar).draw_images(world, 300, seeded())
    assert torch.equal(images, same)


@pytest.mark.parametrize(("settings", "message"), [({"words": 0}, "words"), ({"epochs": -1}, "-1")])
def test_epochs_that_cannot_be(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EpochsConfig(**settings)


# ---- mixtures -----------------------------------------------------------------------------------

BRACKETS_AND_PARITY = MixtureStreamConfig(
    (Component(3.0, ParityConfig(6)), Component(1.0, DyckConfig(6)))
)


def test_each_word_remembers_its_component() -> None:
    stream = BRACKETS_AND_PARITY.build(PARITY)
    words, component = stream.draw_with_components(0, 4000, seeded())
    assert PARITY.contains(words[component == 0]).all()
    assert DyckConfig(6).build().contains(words[component == 1]).all()
    assert chisquare(component.bincount(), [3000, 1000]).pvalue > 1e-3
    assert torch.equal(stream.draw(0, 4000, seeded()), words)
    assert stream.description == "words of parity (75%), dyck (25%)"


def test_the_world_judges_by_its_own_grammar() -> None:
    """Three pairs of brackets have an odd number of closing ones: no such word is valid."""
    stream = BRACKETS_AND_PARITY.build(PARITY)
    words, component = stream.draw_with_components(0, 1000, seeded())
    assert torch.equal(stream.grammar.contains(words), component == 0)
    assert PARITY.contains(stream.draw_held_out(200, seeded())).all()
    assert stream.training is None
    assert stream.training_share() == 0


def test_the_empirical_oracle_is_the_optimum_of_the_mixture() -> None:
    stream = BRACKETS_AND_PARITY.build(PARITY)
    world = SymbolImages(PARITY, Glyphs.font("01"), (1, 6))
    scheduler = noise_scheduler(Config().noise)
    oracle = training_oracle(world, scheduler, stream)
    assert oracle is not None
    x_t = torch.randn(3, 1, 8, 48, generator=seeded(), dtype=torch.float64)
    t = torch.tensor([400, 600, 800])
    # p(x_t) of the two languages weighs the two optima.
    parts = [
        BayesDenoiser(SymbolImages(g, world.glyphs, (1, 6)), scheduler)
        for g in stream.mixture.components
    ]
    alpha, sigma = oracle.alpha_sigma(t, torch.float64)
    scores = world.evidence(x_t, alpha.flatten(), sigma.flatten())
    nothing = torch.zeros(1, 6, 2, dtype=torch.float64)
    weight = torch.stack(
        [g.log_partition(scores) - g.log_partition(nothing) for g in stream.mixture.components]
    )
    weight = (weight + torch.tensor([[0.75], [0.25]], dtype=torch.float64).log()).softmax(0)
    expected = sum(w.reshape(-1, 1, 1, 1) * d(x_t, t) for w, d in zip(weight, parts, strict=True))
    assert (oracle(x_t, t) - expected).abs().max() < 1e-9


def test_a_mixture_of_other_words_is_refused() -> None:
    with pytest.raises(UsageError, match="stream has words of 6 cells over 2 symbols; those of"):
        BRACKETS_AND_PARITY.build(ParityConfig(5).build())
    with pytest.raises(UsageError, match="at least one component"):
        MixtureStreamConfig().build(PARITY)


def test_a_training_set_of_a_mixture_world() -> None:
    """Its count and probabilities are those of the union."""
    grammar = Mixture([PARITY, Automaton([[0, 0]], [0], length=6)], [1, 1])
    stream = FiniteWords(grammar, 40, seed=1)
    assert grammar.count() == 64
    even = PARITY.contains(stream.training)
    expected = (even.sum() * (1 / 64 + 1 / 128) + (~even).sum() / 128).item()
    assert stream.training_share() == pytest.approx(expected)
