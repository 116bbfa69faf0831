"""Given cells, and cells cleaned one after another."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages, WordList, hypercube
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.statistics import wilson
from diffprobe.models import BayesDenoiser, FunctionDenoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import Given, sample
from diffprobe.sampling.given import FREE
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.sequential import SequentialConfig

SCHEDULER = noise_scheduler(NoiseConfig())
FLOW = FlowMatchEulerDiscreteScheduler()
STRIP = SymbolImages(DyckConfig(6, 1).build(), Glyphs.font("()", (4, 4), 2), (2, 3))
CUBE = hypercube(ParityConfig(4).build(), (2, 2))
# Each word's third symbol depends on both others, and words are not alike.
WEIGHTED = SymbolImages(
    WordList(torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]), 2, [4, 2, 1, 3]),
    Glyphs.font("01", (5, 5)),
    (1, 3),
)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm-solver++", "euler", "sequential"])
def test_given_cells_come_back_and_the_others_follow_the_rule(name: str) -> None:
    words = torch.tensor([[0, FREE, FREE, FREE, 0, FREE], [0, 1, FREE, FREE, FREE, FREE]])
    words = words.repeat(20, 1)
    given = Given.words(STRIP, words, torch.ones_like(words))
    config = SamplingConfig(n=40, steps=48, batch_size=16)
    samples = sample(
        BayesDenoiser(STRIP, SCHEDULER),
        STRIP.image_shape,
        kinds.find("sampler", name)(),
        config,
        given=given,
    )
    cells, known = STRIP.cells(samples.images), words != FREE
    assert torch.equal(cells[known], STRIP.cells(given.images)[known])
    read, legible = STRIP.read(samples.images)
    assert legible.all()
    assert torch.equal(read[known], words[known])
    assert STRIP.grammar.contains(read).all()
    assert len(read[::2].unique(dim=0)) > 1


@pytest.mark.parametrize("scheduler", [SCHEDULER, FLOW], ids=["diffusion", "flow"])
def test_the_rest_follows_the_exact_conditional_distribution(scheduler: object) -> None:
    """Given a 0 in the last cell, 000 has weight 4 of 7 and 110 has 3."""
    given = Given.words(WEIGHTED, torch.tensor([FREE, FREE, 0]))
    config = SamplingConfig(n=2000, steps=40, batch_size=1000)
    for kind in (DDIMConfig(), SequentialConfig()):
        bayes = BayesDenoiser(WEIGHTED, scheduler)
        images = sample(bayes, WEIGHTED.image_shape, kind, config, given=given).images
        counts = Counter(map(tuple, WEIGHTED.read(images)[0].tolist()))
        assert set(counts) == {(0, 0, 0), (1, 1, 0)}
        assert abs(counts[0, 0, 0] - 2000 * 4 / 7) < 4 * (2000 * 12 / 49) ** 0.5


def test_without_levels_by_cell_given_cells_are_replaced_at_the_level_of_all() -> None:
    """What the denoiser sees there has the given mean and the schedule's noise, fresh each step."""
    schedule = NoiseSchedule(SCHEDULER)
    seen: list[tuple[int, Tensor]] = []

    def function(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((int(t[0]), x_t[:, :, 0, 0]))
        return torch.zeros_like(x_t)

    given = Given(
        torch.full((1, 1, 2, 2), 0.5), torch.tensor([[True, False, False, False]]), CUBE.cell_grid
    )
    denoiser = FunctionDenoiser(function, SCHEDULER)
    config = SamplingConfig(n=4000, steps=5, batch_size=4000)
    images = sample(denoiser, (1, 2, 2), DDIMConfig(), config, given=given).images
    assert (images[:, 0, 0, 0] == 0.5).all()
    for t, x in seen:
        alpha, sigma = (float(v[0]) for v in schedule.values(torch.tensor([t])))
        assert x.mean().item() == pytest.approx(0.5 * alpha, abs=5 * sigma / 4000**0.5)
        assert x.std().item() == pytest.approx(sigma, rel=0.06)
    first, second = (x.flatten() for _, x in seen[:2])
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 5 / 4000**0.5
    # And what is not given is not touched by it.
    free = sample(denoiser, (1, 2, 2), DDIMConfig(), config).images
    assert torch.equal(free.flatten(1)[:, 1:], images.flatten(1)[:, 1:])


@pytest.mark.parametrize("scheduler", [SCHEDULER, FLOW], ids=["diffusion", "flow"])
@pytest.mark.parametrize(("order", "overlap"), [("cells", 0.0), ("cells", 0.5), ("rows", 0.0)])
def test_in_sequence_the_optimum_obeys_and_the_local_generator_is_at_chance(
    scheduler: object, order: str, overlap: float
) -> None:
    config = SamplingConfig(n=400, steps=48, batch_size=400)
    sampler = kinds.find("sampler", "sequential")(order=order, overlap=overlap)
    for world in (CUBE, STRIP):
        read = [
            world.read(sample(oracle(world, scheduler), world.image_shape, sampler, config).images)
            for oracle in (BayesDenoiser, ProductDenoiser)
        ]
        (bayes, legible), (local, _) = read
        assert legible.float().mean() > 0.97  # pixels may end between -1 and +1
        assert world.grammar.contains(bayes).all()
        valid = int(world.grammar.contains(local).sum())
        assert wilson(valid, 400).contains(world.grammar.product_rate())


def test_cells_all_at_once_are_ddim() -> None:
    config = SamplingConfig(n=8, steps=20, batch_size=8)
    bayes = BayesDenoiser(STRIP, SCHEDULER)
    together, ddim = (
        sample(bayes, STRIP.image_shape, kind, config).images
        for kind in (SequentialConfig(overlap=1.0), DDIMConfig())
    )
    assert torch.allclose(together, ddim, atol=1e-3)


@pytest.mark.parametrize(("order", "groups"), [("cells", 6), ("rows", 2)])
def test_levels_fall_one_group_after_another(order: str, groups: int) -> None:
    schedule = NoiseSchedule(SCHEDULER, STRIP.cell_grid)
    path = kinds.find("sampler", "sequential")(order=order).path(schedule, 48)
    levels = path.levels
    assert levels.shape == (48, 6)
    assert (levels.diff(dim=0) <= 0).all()
    assert (levels[0] == 999).all()
    for row in levels:
        # Given, then those in their turn, then pure noise.
        by_group = row.reshape(groups, -1)
        assert (by_group == by_group[:, :1]).all()
        busy = (by_group[:, 0] != GIVEN) & (by_group[:, 0] != 999)
        assert busy.sum() <= 1
        assert all(a <= b for a, b in pairwise(by_group[:, 0].tolist()))
    # With half of an overlap the next begins at the middle of the one before.
    half = kinds.find("sampler", "sequential")(order=order, overlap=0.5).path(schedule, 48).levels
    busy = ((half != GIVEN) & (half != 999)).reshape(48, groups, -1)[..., 0].sum(1)
    assert busy.max() == 2


def test_what_cannot_be_given_or_cleaned_in_turn_is_refused() -> None:
    bayes = BayesDenoiser(CUBE, SCHEDULER)
    config = SamplingConfig(n=4, steps=8, batch_size=4)
    shape = CUBE.image_shape
    with pytest.raises(UsageError, match=r"no valid word has the symbols given: \+---$"):
        Given.words(CUBE, torch.tensor([1, 0, 0, 0]))
    with pytest.raises(UsageError, match="outside the alphabet"):
        Given.words(CUBE, torch.tensor([5, FREE, 0, 0]))
    three = Given.words(CUBE, torch.full((3, 4), FREE))
    with pytest.raises(UsageError, match=r"given cells are for images \(3, 1, 2, 2\); sampled"):
        sample(bayes, shape, DDIMConfig(), config, given=three)
    with pytest.raises(UsageError, match=r"marked by \(n, 4\) bools, not \(1, 3\)"):
        Given(torch.zeros(1, 1, 2, 2), torch.ones(1, 3).bool(), CUBE.cell_grid)
    with pytest.raises(UsageError, match="one for each of 2 rows of cells"):
        Given(torch.zeros(1, 1, 2, 2), torch.ones(2, 4).bool(), CUBE.cell_grid)
    plain = FunctionDenoiser(lambda x, t: x, SCHEDULER)
    with pytest.raises(UsageError, match=r"train a network with network\.levels_by_cell = true"):
        sample(plain, shape, SequentialConfig(), config)
    with pytest.raises(UsageError, match=r"too few to clean 4 groups .* take at least 4"):
        sample(bayes, shape, SequentialConfig(), replace(config, steps=3))
    with pytest.raises(UsageError, match="sequential visits many noise levels at once"):
        sample(bayes, shape, SequentialConfig(), config, watch=lambda *_: None)


def test_words_are_typed_and_taken_in_turn() -> None:
    config = SamplingConfig(n=40, steps=24, batch_size=16, given="(____) ()____")
    bayes = BayesDenoiser(STRIP, SCHEDULER)
    images = sample(bayes, STRIP.image_shape, DDIMConfig(), config, dataset=STRIP).images
    read, legible = STRIP.read(images)
    assert legible.all()
    assert STRIP.grammar.contains(read).all()
    assert (read[::2, [0, 5]] == torch.tensor([0, 1])).all()
    assert (read[1::2, :2] == torch.tensor([0, 1])).all()
    assert len(read[1::2, 2:].unique(dim=0)) == 2
    # Both pictures of a symbol are given, and the same ones again.
    given, again, other = (Given.read("(____) ()____", STRIP, 40, seed) for seed in (0, 0, 1))
    assert torch.equal(given.images, again.images)
    assert not torch.equal(given.images, other.images)
    first = STRIP.cells(given.images)[::2, 0]
    assert len(first.unique(dim=0)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(x____", r"'x' in '\(x____' is not among the symbols \( \); _ stands for a cell"),
        ("(__", r"'\(__' has 3 cells, words have 6: a symbol for each that is given, _ for each"),
        ("()()()", r"'\(\)\(\)\(\)' leaves nothing to sample: put _ for a cell that is"),
        ("_____( ______", r"no valid word has the symbols given: _____\($"),
        ("  ", r"sampling.given names no word: '  '"),
    ],
)
def test_words_that_cannot_be_given_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Given.read(text, STRIP, 4)
    bayes, config = BayesDenoiser(STRIP, SCHEDULER), SamplingConfig(n=4, steps=4, given="(_____")
    with pytest.raises(UsageError, match=r"sampling\.given goes by a grammar, and none is known"):
        sample(bayes, STRIP.image_shape, DDIMConfig(), config)
    underscore = SymbolImages(ParityConfig(2).build(), Glyphs.font("_1"), (1, 2))
    with pytest.raises(UsageError, match="'_' is a symbol here, and stands for a cell"):
        Given.read("1_", underscore, 4)


def test_names_of_several_characters_are_typed_without_spaces() -> None:
    world = SymbolImages(ParityConfig(3).build(), Glyphs.coloured("■", ["red", "blue"]), (1, 3))
    given = Given.read("blue■_red■", world, 2)
    words, legible = world.read(given.images)
    assert words[:, [0, 2]].tolist() == [[1, 0], [1, 0]]
    assert given.cells.tolist() == [[True, False, True]] * 2
    assert legible[:, [0, 2]].all()
