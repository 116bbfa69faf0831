import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffprobe.config import Config
from diffprobe.datasets import Corrupted, Glyphs, SymbolImages, WordList
from diffprobe.datasets.curriculum import CurriculumWords, blurred
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.streams.curriculum import CurriculumConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import noise_scheduler
from diffprobe.models.oracles import training_oracle
from diffprobe.training import train

PARITY = ParityConfig(4).build()
WORLD = SymbolImages(PARITY, Glyphs.font("01"), (1, 4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(**settings: object) -> CurriculumWords:
    return CurriculumConfig(**settings).build(PARITY)  # type: ignore[arg-type]


def passes(one: CurriculumWords, steps: int, n: int) -> Tensor:
    return torch.cat([one.quality(step, n) for step in range(steps)])


def test_quality_rises_falls_or_is_mixed_and_begins_again() -> None:
    rising = torch.arange(12).double() / 11
    found = passes(stream(samples=12), 9, 4)
    assert torch.allclose(found, rising.repeat(3))
    assert torch.allclose(
        passes(stream(samples=12, order="descending"), 9, 4), (1 - rising).repeat(3)
    )
    mixed = passes(stream(samples=12, order="shuffled"), 9, 4)
    assert torch.allclose(mixed[:12].sort().values, rising)
    assert not torch.equal(mixed[:12], found[:12])
    assert torch.equal(mixed, mixed[:12].repeat(3))
    # A batch may begin in one pass and end in the next.
    assert torch.equal(passes(stream(samples=12, order="shuffled"), 7, 5), mixed[:35])
    other = passes(stream(samples=12, order="shuffled", seed=1), 3, 4)
    assert not torch.equal(other, mixed[:12])


def test_the_share_of_wrong_words_follows_the_quality() -> None:
    """One replaced cell makes every word of even parity odd."""
    one = stream(samples=4, rate=0.8)
    words = torch.cat([one.draw(step, 4, seeded(step)) for step in range(2000)])
    wrong = (~PARITY.contains(words)).reshape(-1, 4).double().mean(0)
    expected = 0.8 * (1 - torch.tensor([0, 1 / 3, 2 / 3, 1])).double()
    assert ((wrong - expected).abs() <= 5 * (expected * (1 - expected) / 2000).sqrt()).all()
    assert wrong[3] == 0


@pytest.mark.parametrize("n", [1, 3])
def test_the_language_of_a_step_is_what_the_step_draws(n: int) -> None:
    grammar = WordList(torch.tensor([[0, 1, 2], [2, 2, 0]]), 3, [1, 3])
    one = CurriculumWords(grammar, 7, "descending", "invalid", 0.9, 0)
    language = one.language(2, n)
    assert isinstance(language, Corrupted)
    assert language.rate == pytest.approx(float((1 - one.quality(2, n)).mean()) * 0.9)
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    words = torch.cat([one.draw(2, n, seeded(i)) for i in range(6000 // n)])
    found = (words[:, None] == every).all(-1).double().mean(0)
    p = language.probability(every)
    assert ((found - p).abs() <= 5 * (p * (1 - p) / len(words)).sqrt() + 1e-12).all()


def test_the_language_of_the_whole_pass_and_of_the_best_sample() -> None:
    one = stream(samples=8, rate=0.6)
    whole = one.language()
    assert isinstance(whole, Corrupted)
    assert whole.rate == pytest.approx(0.3)
    assert whole.probability(torch.tensor([[1, 0, 0, 0]])).item() == pytest.approx(0.3 / 8)
    # The last sample is clean, and so is a pass at rate 0.
    assert one.language(7) is PARITY
    assert stream(rate=0.0).language() is PARITY


def test_the_oracle_of_a_pass_knows_the_wrong_words() -> None:
    scheduler = noise_scheduler(Config().noise)
    oracle = training_oracle(WORLD, scheduler, stream(samples=8, rate=1.0))
    assert oracle is not None
    # At rate 1 half of all words of a pass are odd, each as likely as each even one: cells of the
    # corrupted language are independent, whatever the noise.
    x_t = torch.randn(2, 1, 8, 32, generator=seeded())
    t = torch.tensor([300, 700])
    alpha, sigma = oracle.alpha_sigma(t)
    scores = WORLD.evidence(x_t, alpha.flatten(), sigma.flatten())
    assert torch.allclose(oracle.posterior(x_t, t), scores.softmax(-1), atol=1e-5)


def test_validation_words_are_clean() -> None:
    one = stream(samples=4)
    assert PARITY.contains(one.draw_held_out(300, seeded())).all()
    assert one.training is None


def test_blur_follows_the_quality_and_stays_in_its_cell() -> None:
    one = stream(samples=4, corruption="blurred", rate=1.5)
    words = one.draw(0, 4, seeded())
    assert PARITY.contains(words).all()
    images = one.render(WORLD, words, 0, seeded(1))
    sharp = WORLD.draw(words, seeded(1))
    assert torch.allclose(images[3], sharp[3], atol=1e-6)
    errors = (images - sharp).square().mean((1, 2, 3))
    assert (errors.diff() < 0).all()
    assert images.abs().max() <= 1 + 1e-6
    # A cell is blurred as it would be alone.
    for image, plain, sigma in zip(images, sharp, (1.5, 1.0, 0.5), strict=False):
        cells = WORLD.cells(plain[None])
        alone = torch.cat([blurred(cells[:, [k]], torch.tensor([sigma])) for k in range(4)], 1)
        assert torch.allclose(WORLD.image(alone)[0], image, atol=1e-5)


def test_blur_is_a_gaussian() -> None:
    """Far from the border it is scipy's."""
    cells = torch.zeros(2, 1, 1, 21, 21, dtype=torch.float64)
    cells[:, 0, 0, 9:12, 10] = 1
    found = blurred(cells, torch.tensor([1.3, 0.0], dtype=torch.float64))
    expected = gaussian_filter(cells[0, 0, 0].numpy(), 1.3, truncate=6)
    assert abs(found[0, 0, 0].numpy() - expected).max() < 1e-6
    assert torch.equal(found[1], cells[1])
    flat = blurred(torch.full((1, 2, 1, 5, 3), 0.7), torch.tensor([2.0]))
    assert torch.allclose(flat, torch.tensor(0.7))


def test_no_oracle_is_claimed_for_blurred_images() -> None:
    one = stream(corruption="blurred", rate=1.0)
    assert not one.plain
    with pytest.raises(UsageError, match="not drawn as the world's"):
        training_oracle(WORLD, noise_scheduler(Config().noise), one)


def test_images_from_anywhere_in_the_pass() -> None:
    one = stream(samples=1000, rate=1.0)
    words, legible = WORLD.read(one.draw_images(WORLD, 2000, seeded()))
    assert legible.all()
    wrong = (~PARITY.contains(words)).double().mean().item()
    assert abs(wrong - 0.5) < 5 * math.sqrt(0.25 / 2000)


@pytest.mark.parametrize("corruption", ["invalid", "blurred"])
def test_training_goes_through_the_passes(
    corruption: str, tiny_config: Config, tmp_path: Path
) -> None:
    kind = CurriculumConfig(samples=100, order="shuffled", corruption=corruption)  # type: ignore[arg-type]
    run = train(replace(tiny_config, stream=kind), tmp_path / "run", "cpu")
    assert run.config().stream == kind
    losses = [line["validation_loss"] for line in run.metrics()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "at least 2 samples"),
        ({"samples": 2**24 + 1, "order": "shuffled"}, "at most 16,777,216 samples"),
        ({"rate": 1.5}, "a probability for 'invalid'"),
        ({"rate": -0.5, "corruption": "blurred"}, "a number of pixels"),
    ],
)
def test_passes_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stream(**settings)
