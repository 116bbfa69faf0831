import itertools
from dataclasses import replace

import pytest
import torch
from scipy.stats import binom

from diffprobe.config import SamplingConfig
from diffprobe.datasets import Glyphs, Grammar, SymbolImages, hypercube
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import reading
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations import kinds
from diffprobe.foundations.statistics import wilson
from diffprobe.models import ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import sample

FONTS = SymbolImages(CopyConfig(6, 10).build(), Glyphs.font("0123456789", variants=2), (1, 6))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- calibration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm-solver++", "euler"])
def test_the_gate_refuses_next_to_no_clean_font(name: str) -> None:
    """The product oracle draws every symbol as it should be: what a sampler adds is its noise."""
    oracle = ProductDenoiser(FONTS, noise_scheduler(NoiseConfig()))
    config = SamplingConfig(n=128, steps=25, batch_size=128)
    images = sample(oracle, FONTS.image_shape, kinds.find("sampler", name)(), config).images
    verdicts = judge(FONTS, images)
    assert verdicts.legible_cells.all()
    noise = reading.residual_noise(FONTS, images, verdicts)
    assert noise < 0.1
    found = reading.calibrate(FONTS, noise)
    assert found.refused.n == reading.CELLS
    assert found.refused.high < 0.001
    assert found.misread.high < 0.001


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_the_noise_in_samples_is_found(noise: float) -> None:
    words = FONTS.grammar.sample(300, generator())
    images = FONTS.draw(words, generator(1))
    images = images + noise * torch.randn(images.shape, generator=generator(2))
    images[:20] = 0.0  # what cannot be read has no say
    found = reading.residual_noise(FONTS, images, judge(FONTS, images))
    assert found == pytest.approx(noise, rel=0.05, abs=1e-3)


def test_handwriting_of_unseen_writers_calibrates_the_reader() -> None:
    world = SymbolImages(DigitSumConfig().build(), Glyphs.digits(), (2, 2))
    found = reading.calibrate(world, noise=0.0)
    assert found.accuracy.n == found.refused.n == 510
    assert found.accuracy.value > 0.97
    assert found.refused.value < 0.04
    assert found.misread.value < 0.02
    assert int(found.confusion.sum()) == found.misread.n == 510 - found.refused.count
    wrong = int(found.confusion.sum() - found.confusion.diagonal().sum())
    assert wrong == found.misread.count
    summary = found.summary()
    expected = 1 - (1 - found.misread.value) ** 4
    assert summary["sample_misread"].value == pytest.approx(expected)
    # Writers nobody knows are as far from the glyphs as they are, and noise is what comes on top.
    unseen = replace(world.glyphs, images=world.glyphs.unseen[:400, None], counts=torch.ones(400))
    for noise in (0.0, 0.15):
        images = world.image(unseen.images.reshape(100, 4, 1, 8, 8))
        images = images + noise * torch.randn(images.shape, generator=generator())
        measured = reading.residual_noise(world, images, judge(world, images))
        assert measured == pytest.approx(noise, abs=0.06)
    assert reading.calibrate(world, 0.6).refused.value > 0.5


def test_the_confidence_is_the_share_that_is_right() -> None:
    glyphs = Glyphs.digits()
    world = SymbolImages(DigitSumConfig().build(), glyphs, (2, 2))
    assert glyphs.unseen is not None
    symbols, confidence, _ = world.recognise_cells(glyphs.unseen)
    right = (symbols == glyphs.unseen_labels)[confidence > 0]
    confidence = confidence[confidence > 0].double()
    # The number right is a sum of coin tosses with these probabilities.
    error = (confidence * (1 - confidence)).sum().sqrt()
    assert abs(right.sum() - confidence.sum()) < 3 * error
    unsure = confidence < 0.9
    assert right[unsure].double().mean() < right[~unsure].double().mean() - 0.1


def test_single_pixels_are_calibrated_too() -> None:
    world = hypercube(ParityConfig(4).build())
    # A pixel is refused where its noise exceeds the radius on the inner side, or on the outer.
    found = reading.calibrate(world, noise=0.3)
    outside = 2 * torch.special.ndtr(torch.tensor(-world.glyphs.radius / 0.3)).item()
    assert found.refused.contains(outside)


# ---- correction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(3).build(), CopyConfig(2, 2).build(), DyckConfig(4, 1).build()],
    ids=["parity", "copy", ""],
)
def test_the_correction_inverts_the_reader_exactly(grammar: Grammar) -> None:
    """Words written at random, read in exactly the expected proportions."""
    every = torch.tensor(list(itertools.product(range(2), repeat=grammar.length)))
    written = torch.randint(1, 5, (len(every),), generator=generator()).double()
    confusion = torch.tensor([[9, 1], [2, 8]])
    shares = confusion.double() / 10
    kernel = torch.stack([shares[:, every[:, i]][every[:, i]] for i in range(grammar.length)])
    counts = (written @ kernel.prod(0) * 10**grammar.length).round().long()
    words = every.repeat_interleave(counts, 0)
    valid = grammar.contains(every)
    truth = float(written[valid].sum() / written.sum())
    raw = float(counts[valid].sum() / counts.sum())
    found = reading.correct_grammatical(grammar, words, confusion * 100)
    assert abs(raw - truth) > 0.01
    assert found.value == pytest.approx(truth, abs=1e-9)
    assert found.low < truth < found.high


def test_kinds_are_corrected_to_first_order() -> None:
    grammar = DyckConfig(4, 2).build()
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))
    written = torch.rand(len(every), generator=generator()).double() ** 3
    for errors, off in ((4, 2e-4), (40, 2e-2)):
        confusion = 1000 * torch.eye(4).long() + errors * torch.rand(4, 4, generator=generator())
        shares = (confusion / confusion.sum(1, keepdim=True)).double()
        kernel = torch.stack([shares[:, every[:, i]][every[:, i]] for i in range(4)]).prod(0)
        counts = (written @ kernel * 1000).round().long()
        words = every.repeat_interleave(counts, 0)
        found = reading.correct_kinds(grammar, words, confusion)
        for kind, wrong in grammar.violations(every).items():
            truth = float(written[wrong].sum() / written.sum())
            raw = float(counts[wrong].sum() / counts.sum())
            value = found[kind].value
            assert value is not None
            assert abs(value - truth) < off
            assert abs(value - truth) < abs(raw - truth)


def test_a_reader_without_errors_leaves_the_raw_rate() -> None:
    words = torch.tensor([[0, 0]] * 7 + [[0, 1]] * 3)
    rate = wilson(7, 10)
    found = reading.correct_grammatical(ParityConfig(2).build(), words, 50 * torch.eye(2).long())
    assert (found.value, found.low, found.high) == (rate.value, rate.low, rate.high)
    kinds = reading.correct_kinds(ParityConfig(2).build(), words, 50 * torch.eye(2).long())
    assert kinds["odd parity"].value == 0.3


def test_what_cannot_be_corrected_is_undefined() -> None:
    words = torch.tensor([[0, 0], [0, 1]])
    blind = torch.tensor([[5, 5], [5, 5]])
    for found in (
        reading.correct_grammatical(ParityConfig(2).build(), words, blind),
        reading.correct_grammatical(ParityConfig(2).build(), words[:0], torch.eye(2).long()),
        reading.correct_kinds(ParityConfig(2).build(), words[:0], torch.tensor([[9, 1], [0, 9]]))[
            "odd parity"
        ],
    ):
        assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
        assert str(found) == "undefined"


@pytest.mark.parametrize("valid", [0.1, 0.9])
def test_intervals_cover_the_truth_as_often_as_they_say(valid: float) -> None:
    """Words, the reader's errors on them, and the calibration are all drawn anew each time."""
    grammar, shares = (
        CopyConfig(4, 3).build(),
        torch.tensor([[0.98, 0.02, 0], [0.01, 0.96, 0.03], [0, 0, 1]]),
    )
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    right = grammar.contains(every)
    written = torch.where(right, valid / right.sum(), (1 - valid) / (~right).sum()).double()
    kernel = torch.stack([shares[:, every[:, i]][every[:, i]] for i in range(4)]).prod(0)
    read = written @ kernel.double()
    kind = "cell 2 differs from cell 0"
    kind_share = float(written[grammar.violations(every)[kind]].sum())
    random, rounds = generator(3), 250
    covered = kinds_covered = 0
    for _ in range(rounds):
        words = every[read.multinomial(500, replacement=True, generator=random)]
        tested = shares.multinomial(150, replacement=True, generator=random)
        confusion = torch.stack([row.bincount(minlength=3) for row in tested])
        found = reading.correct_grammatical(grammar, words, confusion)
        covered += found.low <= valid <= found.high
        of_kind = reading.correct_kinds(grammar, words, confusion)[kind]
        kinds_covered += of_kind.low <= kind_share <= of_kind.high
    # What 93 to 97 % allow, give or take the simulation's own error (1 in 1,000 each side).
    least, most = binom.ppf(0.001, rounds, 0.93), binom.ppf(0.999, rounds, 0.97)
    assert least <= covered <= most
    assert least <= kinds_covered <= most


@pytest.mark.parametrize(
    "grammar",
    [ModularSumConfig(3, 2, 1).build(), PalindromeConfig(1, 2).build()],
    ids=["sum", "cell"],
)
def test_nothing_is_wrong_where_every_word_is_valid_however_badly_it_is_read(
    grammar: Grammar,
) -> None:
    words = torch.randint(2, (50, grammar.length), generator=generator())
    confusion = torch.tensor([[90, 10], [20, 80]])
    assert reading.correct_kinds(grammar, words, confusion) == {}
    found = reading.correct_grammatical(grammar, words, confusion)
    assert (found.value, found.high) == (pytest.approx(1), pytest.approx(1))
    assert found.low < 1
