import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages, WordList
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords, FreshWords
from diffprobe.evaluation import memorisation
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import interval
from diffprobe.report import report_samples

WORLD = SymbolImages(DigitSumConfig().build(), Glyphs.font("0123456789", variants=3), (2, 2))
SPLIT = FiniteWords(WORLD.grammar, 300, seed=1)


def planted(training: int, held_out: int, invalid: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    wrong = torch.tensor([[9, 9, 0, 0]]).expand(invalid, -1)
    words = [SPLIT.draw(0, training, random), SPLIT.draw_held_out(held_out, random), wrong]
    images = WORLD.draw(torch.cat(words), random)
    return images + 0.05 * torch.randn(images.shape, generator=random)


def test_planted_shares_are_found() -> None:
    images = planted(50, 30, 20)
    images = torch.cat(
        [images, torch.zeros_like(images[:5]), torch.full_like(images[:2], math.nan)]
    )
    result = memorisation.measure(WORLD, SPLIT, images, judge(WORLD, images))
    found = [result.training, result.held_out, result.invalid, result.recalled]
    assert [(r.count, r.n) for r in found] == [(50, 100), (30, 100), (20, 100), (50, 80)]
    assert result.uniform == pytest.approx(300 / 670)
    assert result.nearest_is_training.n == 105
    assert 50 <= result.nearest_is_training.count <= 75


def test_the_nearest_image_is_the_one_found_by_looking_at_all() -> None:
    world = SymbolImages(ParityConfig(3).build(), Glyphs.font("01", (4, 4), 2), (1, 3))
    split = FiniteWords(world.grammar, 2)
    random = torch.Generator().manual_seed(2)
    images = torch.randn(6, *world.image_shape, generator=random)
    result = memorisation.measure(world, split, images, judge(world, images))

    def nearest(words: torch.Tensor) -> torch.Tensor:
        choices = torch.cartesian_prod(*[torch.arange(2)] * 3)
        every = torch.cat([world.render(words, v.expand(len(words), -1)) for v in choices])
        square = (images[:, None] - every[None]).square().flatten(2).mean(-1)
        return square.amin(1).sqrt().double()

    assert split.training is not None
    assert torch.allclose(result.distance_to_training, nearest(split.training), atol=1e-5)
    assert torch.allclose(result.distance_to_valid, nearest(world.grammar.words()), atol=1e-5)


def test_intervals_of_mean_distances_cover_where_few_samples_are_far() -> None:
    """Most samples lie near a training image, one in twelve is new and lies far."""
    random = torch.Generator().manual_seed(0)
    share, n, repeats, covered = 1 / 12, 600, 600, 0
    images = planted(5, 3, 2)
    result = memorisation.measure(WORLD, SPLIT, images, judge(WORLD, images))
    for _ in range(repeats):
        far = torch.rand(n, generator=random) < share
        drawn = 0.05 + 0.01 * torch.randn(n, generator=random).abs() + 0.4 * far
        told = replace(result, distance_to_training=drawn).summary()["distance_to_training"]
        truth = 0.05 + 0.01 * math.sqrt(2 / math.pi) + 0.4 * share
        covered += told.contains(truth)
    assert told.n == n
    assert 0.92 < covered / repeats < 0.98


def test_weights_move_the_line_to_compare_with() -> None:
    words = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    grammar = WordList(words, 2, [1, 2, 3, 4])
    world = SymbolImages(grammar, Glyphs.font("01", (4, 4)), (1, 2))
    split = FiniteWords(grammar, 2)
    random = torch.Generator().manual_seed(3)
    images = world.draw(grammar.sample(4000, random), random)
    result = memorisation.measure(world, split, images, judge(world, images))
    assert result.recalled.contains(result.uniform)
    assert result.uniform == pytest.approx(
        sum(w for w, known in zip([1, 2, 3, 4], split.is_training(words), strict=True) if known)
        / 10
    )


def test_fresh_words_cannot_be_memorised() -> None:
    images = planted(3, 3, 3)
    with pytest.raises(UsageError, match="needs a finite training set"):
        memorisation.measure(WORLD, FreshWords(WORLD.grammar), images, judge(WORLD, images))


def test_the_report_tells(tmp_path: Path) -> None:
    report = report_samples(planted(50, 30, 20), WORLD, tmp_path, stream=SPLIT)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["memorisation"]["recalled"]["count"] == 50
    assert content["memorisation"]["uniform"] == pytest.approx(300 / 670)
    assert any("62.5%" in line and "44.8%" in line for line in content["findings"])
    page = report.page.read_text()
    assert "Memorisation" in page
    assert "50 of 80" in page
    distances = [content["memorisation"][f"distance_to_{which}"] for which in ("training", "valid")]
    assert all(told["n"] == 100 for told in distances)
    assert all(interval(told) in page for told in distances)
    without = report_samples(planted(5, 3, 2), WORLD, tmp_path, stream=FreshWords(WORLD.grammar))
    assert without.memorisation is None
    assert "Memorisation" not in without.page.read_text()
