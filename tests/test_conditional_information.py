import math

import pytest
import torch
from torch import Tensor

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.datasets.grammars.automaton import AutomatonConfig
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.grammars.word_list import WordListConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.local_oracle import LocalDenoiser, neighbourhoods
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probes.conditional_information import ConditionalInformationConfig
from diffprobe.probes.conditional_information.information import informations, measure, window
from diffprobe.probes.conditional_information.words import lines

SCHEDULER = noise_scheduler(NoiseConfig())
BRACKETS = SymbolImages(DyckConfig(6, 2).build(), Glyphs.font("()[]", (4, 4)), (1, 6))
QUICK = ConditionalInformationConfig(images=32, levels=7)


def inputs(world: SymbolImages, n: int, t: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x_0 = world.draw_images(n, random).double()
    alpha, sigma = (
        a.double() for a in BayesDenoiser(world, SCHEDULER).alpha_sigma(torch.tensor([t]))
    )
    eps = torch.randn(x_0.shape, generator=random, dtype=torch.float64)
    return alpha * x_0 + sigma * eps, torch.full((n,), t)


def scores_of(world: SymbolImages, x_t: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = BayesDenoiser(world, SCHEDULER).alpha_sigma(t, torch.float64)
    return world.evidence(x_t, alpha.flatten(), sigma.flatten())


def all_words(world: SymbolImages) -> Tensor:
    length, symbols = world.grammar.length, world.grammar.symbols
    every = torch.cartesian_prod(*[torch.arange(symbols)] * length)
    return every[world.grammar.contains(every)]


def log_likelihoods(scores: Tensor, words: Tensor, cells: list[int]) -> Tensor:
    """Of each word, by the evidence of some cells alone: (B, W)."""
    total = torch.zeros(len(scores), len(words), dtype=torch.float64)
    for cell in cells:
        total += scores[:, cell, words[:, cell]]
    return total


def near_cells(length: int, cell: int, radius: int) -> list[int]:
    return [j for j in range(length) if abs(j - cell) <= radius]


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_the_local_optimum_is_the_mean_over_words_seen_through_near_cells(radius: int) -> None:
    x_t, t = inputs(BRACKETS, 3, 350)
    scores, words = scores_of(BRACKETS, x_t, t), all_words(BRACKETS)
    found = BRACKETS.cells(LocalDenoiser(BRACKETS, SCHEDULER, radius)(x_t, t))
    glyphs = BRACKETS.cells(BRACKETS.render(words)).double()
    for cell in range(6):
        seen = log_likelihoods(scores, words, near_cells(6, cell, radius))
        expected = torch.einsum("bn,nchw->bchw", seen.softmax(1), glyphs[:, cell])
        assert torch.allclose(found[:, cell].double(), expected, atol=1e-6)


def test_its_ends_are_the_product_and_the_bayes_oracle() -> None:
    x_t, t = inputs(BRACKETS, 3, 350)
    ends = ((0, ProductDenoiser(BRACKETS, SCHEDULER)), (5, BayesDenoiser(BRACKETS, SCHEDULER)))
    for radius, oracle in ends:
        found = LocalDenoiser(BRACKETS, SCHEDULER, radius)(x_t, t)
        assert torch.allclose(found, oracle(x_t, t), atol=1e-6)
    assert neighbourhoods(CellGrid(2, 3, 8, 8), 1)[0].tolist() == [True, True, False] * 2
    with pytest.raises(UsageError, match="radius must not be negative, but it is -1"):
        LocalDenoiser(BRACKETS, SCHEDULER, -1)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_the_information_is_that_of_sums_over_all_words(radius: int) -> None:
    x_t, t = inputs(BRACKETS, 4, 350)
    scores, words = scores_of(BRACKETS, x_t, t), all_words(BRACKETS)

    def log_p(cells: list[int]) -> Tensor:
        return log_likelihoods(scores, words, cells).logsumexp(1)

    expected = torch.zeros(4, dtype=torch.float64)
    for cell in range(6):
        near, rest = near_cells(6, cell, radius), [j for j in range(6) if j != cell]
        beside = [j for j in near if j != cell]
        expected += log_p([*range(6)]) - log_p(rest) - log_p(near) + log_p(beside)
    (found,) = informations(BRACKETS, scores, [radius])
    assert torch.allclose(found, expected / 6, atol=1e-9)


def test_under_parity_far_cells_tell_log_2_at_every_radius_and_nothing_in_much_noise() -> None:
    world = hypercube(ParityConfig(6).build())
    result = measure(BayesDenoiser(world, SCHEDULER), world, QUICK)
    assert result.information.value[:, -1].tolist() == pytest.approx([math.log(2)] * 3)
    assert result.information.value[:, 0].abs().max() < 1e-6
    for row in result.summary()["by_radius"].values():
        assert row["window"][1] is None
        assert row["clean"]["value"] == pytest.approx(math.log(2))
        assert row["width"] == pytest.approx(float(result.log_snr[-1]) - row["window"][0])
        # And yet the local optimum misses nothing there: a cell's own evidence decides.
        assert row["missed"]["highest"]["low"] > 0
        assert row["missed"]["clean"]["value"] == pytest.approx(0.0, abs=1e-6)
        assert row["missed"]["window"][1] is not None


def test_under_a_rule_between_neighbours_alone_far_cells_tell_in_a_window_of_noise() -> None:
    on = ((50.0, 1.0), (1.0, 50.0), (1.0, 1.0))  # a sign is mostly that before it
    chain = AutomatonConfig(((0, 1),) * 3, accept=(0, 1), start=2, length=6, weights=on)
    world = hypercube(chain.build())
    settings = ConditionalInformationConfig(images=96, levels=15)
    result = measure(BayesDenoiser(world, SCHEDULER), world, settings)
    row = result.summary()["by_radius"]["1"]
    low, high = row["window"]
    assert low < row["at_log_snr"] < high
    assert row["width"] == pytest.approx(high - low)
    assert row["clean"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert row["highest"]["low"] > 0.01


def test_what_near_cells_decide_far_ones_do_not_tell() -> None:
    """Pairs of equal neighbours: nothing is beyond radius 1; of a copy everything is."""
    pairs = hypercube(WordListConfig("0000\n0011\n1100\n1111").build())
    copies = hypercube(CopyConfig(4, 2).build())
    by_pairs, by_copies = (
        measure(BayesDenoiser(world, SCHEDULER), world, QUICK).information.value
        for world in (pairs, copies)
    )
    assert by_pairs[0].max() == pytest.approx(math.log(2))
    assert by_pairs[1].abs().max() < 1e-9
    assert by_copies[1].max() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("denoiser", "radius"),
    [
        (ProductDenoiser(BRACKETS, SCHEDULER), 0),
        (LocalDenoiser(BRACKETS, SCHEDULER, 1), 1),
        (LocalDenoiser(BRACKETS, SCHEDULER, 2), 2),
        (BayesDenoiser(BRACKETS, SCHEDULER), None),
    ],
)
def test_a_denoiser_that_is_local_by_construction_has_its_radius(
    denoiser: Denoiser, radius: int | None
) -> None:
    result = measure(denoiser, BRACKETS, QUICK)
    summary = result.summary()
    assert summary["nearest"]["radius"] == radius
    own = result.missed_network if radius is None else result.distance[radius]
    assert own.value.max() < 1e-6
    assert f"nearest to {'Bayes' if radius is None else f'radius {radius}'}" in lines(summary)[-1]
    names = {row["number"] for row in result.rows()}
    assert {"information, radius 0", "distance, radius 2", "missed_network"} <= names


def test_a_radius_that_reaches_everything_is_no_radius() -> None:
    world = hypercube(ParityConfig(3).build())
    bayes = BayesDenoiser(world, SCHEDULER)
    assert measure(bayes, world, QUICK).radii == (0, 1)
    with pytest.raises(UsageError, match="within 2 cells of a cell lie all 3"):
        measure(bayes, world, ConditionalInformationConfig(images=8, levels=3, radii=(2,)))
    for radii in ((), (0, 0), (-1,)):
        with pytest.raises(UsageError, match="different numbers from 0 on"):
            ConditionalInformationConfig(radii=radii)


def test_a_window_lies_between_the_halves_of_the_highest() -> None:
    x = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    assert window(x, torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])) == [1.5, 2.5]
    assert window(x, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])) == [1.5, None]
