import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diffprobe.datasets import (
    Automaton,
    ContextFree,
    Glyphs,
    Grammar,
    SymbolImages,
    WordList,
    hypercube,
)
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.palindrome import PalindromeConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.evaluation.verdicts import VERDICTS, judge
from diffprobe.foundations.errors import UsageError
from diffprobe.sampling import Samples, load_samples

GRAMMARS = {
    "parity": ParityConfig(6).build(),
    "modular-sum": ModularSumConfig(3, 10, 10).build(),
    "digit-sum": DigitSumConfig().build(),
    "copy": CopyConfig(6, 3).build(),
    "palindrome": PalindromeConfig(5, 3).build(),
    "dyck": DyckConfig(6, 2).build(),
    "own-rules": ContextFree.parse('S -> "a" S "b" | "c"', 5),
    "own-automaton": Automaton([[0, 1], [0, -1]], [0, 1], length=6),
    "own-words": WordList(torch.tensor([[0, 1, 2], [2, 1, 0], [1, 1, 1]])),
}


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_planted_violations_of_every_kind_come_back_in_those_counts(
    grammar: Grammar, tmp_path: Path
) -> None:
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(grammar.symbols, (20_000, grammar.length), generator=random)
    pool = pool[~grammar.contains(pool)]
    kinds = grammar.violations(pool)
    kinds = {kind: found for kind, found in kinds.items() if found.any()}
    # Of each kind some words, a different number each; a word may be of several kinds.
    chosen = [pool[found][: 2 + i % 5] for i, found in enumerate(kinds.values())]
    invalid = torch.cat(chosen)
    valid = grammar.sample(30, random)
    illegible = 11
    words = torch.cat([valid, invalid, grammar.sample(illegible, random)])
    planted = {kind: int(f.sum()) for kind, f in grammar.violations(invalid).items() if f.any()}
    assert len(planted) == len(kinds)
    distances = (invalid[:, None] != grammar.words()[None]).sum(-1).amin(1)

    glyphs = Glyphs.font("0123456789"[: grammar.symbols])
    world = SymbolImages(grammar, glyphs, (1, grammar.length))
    images = world.draw(words, random)
    spoiled = torch.randint(grammar.length, (illegible,), generator=random)
    for row, cell in enumerate(spoiled.tolist(), start=len(words) - illegible):
        images[row, :, :, 8 * cell : 8 * cell + 8] = 0.0
    images += 0.05 * torch.randn(images.shape, generator=random)
    order = torch.randperm(len(words), generator=random)
    np.savez(tmp_path / "samples.npz", images=images[order].numpy())

    verdicts = judge(world, load_samples(tmp_path / "samples.npz").images)
    assert {k: r.count for k, r in verdicts.violation_rates().items() if r.count} == planted
    shares = {name: rate.count for name, rate in verdicts.shares().items()}
    assert shares == {
        "valid-novel": len(valid),
        "valid-memorised": 0,
        "invalid": len(invalid),
        "illegible": illegible,
    }
    back = order.argsort()
    found = verdicts.distance[back]
    assert found.tolist() == [0] * len(valid) + distances.tolist() + [-1] * illegible
    assert torch.equal(verdicts.wrong_cells.sum(1)[back][:-illegible], found[:-illegible])
    assert grammar.contains(verdicts.nearest[verdicts.legible]).all()
    unreadable = (~verdicts.legible_cells[back]).nonzero().tolist()
    first = len(words) - illegible
    assert unreadable == [[first + i, cell] for i, cell in enumerate(spoiled.tolist())]
    assert (verdicts.confidence[verdicts.legible_cells] > 0.99).all()
    assert (verdicts.confidence[~verdicts.legible_cells] == 0).all()


def test_planted_errors_are_found() -> None:
    dataset = SymbolImages(DigitSumConfig().build(), Glyphs.font("0123456789"), (2, 2))
    random = torch.Generator().manual_seed(0)
    images = dataset.render(
        torch.cat(
            [
                dataset.grammar.sample(40, random),
                torch.tensor([[9, 9, 0, 0]]).expand(7, -1),
                torch.tensor([[1, 0, 5, 5]]).expand(3, -1),
                dataset.grammar.sample(10, random),
            ]
        )
    )
    images[50:, :, :8, :8] = 0.0  # a grey first cell
    images += 0.05 * torch.randn(images.shape, generator=random)
    verdicts = judge(dataset, images)
    assert verdicts.legible.tolist() == [True] * 50 + [False] * 10
    assert verdicts.grammatical.tolist() == [True] * 40 + [False] * 20
    assert (verdicts.legible_rate.count, verdicts.legible_rate.n) == (50, 60)
    assert (verdicts.grammatical_rate.count, verdicts.grammatical_rate.n) == (40, 50)
    found = {k: r.count for k, r in verdicts.violation_rates().items() if r.count}
    assert found == {"off by 18": 7, "off by -9": 3}
    summary = verdicts.summary()
    assert (summary["valid"].count, summary["valid"].n) == (40, 60)
    assert summary["legible_cells"].count == 230
    assert summary["chance"]["product"] == pytest.approx(0.0705, abs=1e-4)
    assert summary["chance"]["uniform"] == pytest.approx(0.067)


def test_training_words_are_told_from_new_ones() -> None:
    dataset = SymbolImages(ParityConfig(4).build(), Glyphs.font("01"), (1, 4))
    split = FiniteWords(dataset.grammar, 3)
    assert split.training is not None
    words = torch.cat([dataset.grammar.words(), torch.tensor([[0, 0, 0, 1]])])
    images = dataset.render(words)
    images[0] = 0.0
    verdicts = judge(dataset, images, split)
    known = split.is_training(words)
    expected = [
        "illegible",
        *("valid-memorised" if k else "valid-novel" for k in known[1:-1].tolist()),
        "invalid",
    ]
    assert verdicts.verdict == expected
    assert [VERDICTS[label] for label in verdicts.labels.tolist()] == expected
    assert int(verdicts.memorised.sum()) == 3 - int(known[0])
    assert not judge(dataset, images).memorised.any()


def test_samples_that_are_not_finite_are_illegible() -> None:
    dataset = SymbolImages(ParityConfig(2).build(), Glyphs.font("01"), (1, 2))
    images = torch.full((3, 1, 8, 16), math.nan)
    images[0] = dataset.render(torch.tensor([[0, 0]]))
    images[1] = dataset.render(torch.tensor([[0, 0]]))
    images[1, 0, 0, 0] = math.inf
    verdicts = judge(dataset, images)
    assert verdicts.legible_cells.tolist() == [[True, True], [False, True], [False, False]]
    assert verdicts.broken.not_finite.tolist() == [False, True, True]
    assert verdicts.summary()["not_finite"] == 2
    assert verdicts.summary()["broken"] == {"not_finite": [1, 2], "out_of_range": []}
    assert judge(dataset, images[1:]).grammatical_rate.value is None


def test_a_value_beyond_all_pictures_makes_a_cell_illegible_however_large_it_is() -> None:
    dataset = SymbolImages(ParityConfig(2).build(), Glyphs.font("01", (64, 64)), (1, 2))
    images = dataset.render(torch.tensor([[0, 0]])).repeat(4, 1, 1, 1)
    images[1, 0, 0, 0] = 9.0  # within the radius: one pixel of 4,096
    images[2, 0, 0, 0] = 11.0
    images[3, 0, 0, 100] = -1e30
    verdicts = judge(dataset, images)
    expected = [[True, True], [True, True], [False, True], [True, False]]
    assert verdicts.legible_cells.tolist() == expected
    assert verdicts.summary()["not_finite"] == 0
    assert verdicts.summary()["out_of_range"] == 2
    assert verdicts.summary()["broken"]["out_of_range"] == [2, 3]


def test_arrays_tensors_samples_and_paths_are_judged_alike(tmp_path: Path) -> None:
    world = SymbolImages(ParityConfig(2).build(), Glyphs.font("01"), (1, 2))
    images = world.render(torch.tensor([[0, 0], [0, 1]]))
    Samples(images, {"class": "DDIM"}).save(tmp_path / "ours.npz")
    np.save(tmp_path / "theirs.npy", ((images + 1) / 2).numpy())
    for given in (
        images,
        images.numpy(),
        images[:, 0].numpy(),
        Samples(images, {}),
        tmp_path / "ours.npz",
        str(tmp_path / "theirs.npy"),
    ):
        assert judge(world, given).words.tolist() == [[0, 0], [0, 1]]
        assert judge(world, given).legible.all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 1, 8, 16), "no samples"),
        (torch.zeros(2, 2, 8, 16), r"this dataset's are \(N, 1, 8, 16\)"),
        (torch.zeros(2, 1, 8, 16).cfloat(), "no numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor, message: str) -> None:
    dataset = SymbolImages(ParityConfig(2).build(), Glyphs.font("01"), (1, 2))
    with pytest.raises(UsageError, match=message):
        judge(dataset, images)


def test_rows_are_the_samples_and_a_notebook_shows_the_rates() -> None:
    world = hypercube(ParityConfig(4).build())
    words = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]])
    images = world.render(words)
    images[2, 0, 0, 3] = 0
    found = judge(world, images)
    frame = found.to_frame()
    assert frame["verdict"].tolist() == ["valid-novel", "invalid", "illegible"]
    assert frame["word"].tolist()[:2] == ["0 0 1 1", "0 0 0 1"]
    assert frame["wrong_cells"].tolist() == [0, 1, 0]
    assert frame["unreadable_cells"].tolist() == [0, 0, 1]
    assert frame["odd parity"].tolist() == [False, True, False]
    shown = found._repr_html_()
    assert "Verdicts on 3 samples" in shown
    assert "<td>grammatical, of the legible</td><td>0.5</td>" in shown
    assert repr(found).startswith("<Verdicts on 3 samples: grammatical, of the legible, 50.0%")
