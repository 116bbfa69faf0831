import math

import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages, hypercube
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.images.coloured import ColouredImagesConfig
from diffprobe.foundations.errors import UsageError


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("grid", [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_cells_and_image_are_inverse(grid: tuple[int, int]) -> None:
    dataset = SymbolImages(ParityConfig(6).build(), Glyphs.font("()", cell=(8, 5)), grid)
    words = dataset.grammar.words()
    images = dataset.render(words)
    assert images.shape == (32, *dataset.image_shape) == (32, 1, 8 * grid[0], 5 * grid[1])
    assert torch.equal(dataset.image(dataset.cells(images)), images)
    # Cells are filled row by row.
    first = dataset.cells(images)[0, 0]
    assert torch.equal(images[0, :, :8, :5], first)


@pytest.mark.parametrize("variants", [1, 5])
def test_clean_and_slightly_noisy_renderings_are_read_back(variants: int) -> None:
    dataset = SymbolImages(
        ModularSumConfig(4).build(), Glyphs.font("0123456789", variants=variants), (1, 4)
    )
    words = dataset.grammar.sample(500, random())
    images = dataset.draw(words, random())
    for noise in (0.0, 0.05):
        read, legible = dataset.read(images + noise * torch.randn(images.shape, generator=random()))
        assert torch.equal(read, words)
        assert legible.all()


def test_handwriting_of_unseen_writers_is_read() -> None:
    grammar = DigitSumConfig().build()
    train = SymbolImages(grammar, Glyphs.digits("train"), (2, 2))
    held_out = SymbolImages(grammar, Glyphs.digits("held-out"), (2, 2))
    words = grammar.sample(1000, random())
    read, legible = train.read(train.draw(words, random()))
    assert torch.equal(read, words)
    assert legible.all()
    read, legible = train.read(held_out.draw(words, random()))
    right = read == words
    assert right.float().mean() > 0.95
    assert legible.float().mean() > 0.94
    # What it calls legible it reads better than the rest.
    assert right[legible].float().mean() > right[~legible].float().mean() + 0.1


def test_what_is_no_symbol_is_not_legible() -> None:
    dataset = SymbolImages(ParityConfig(2).build(), Glyphs.font("01"), (1, 2))
    image = dataset.render(torch.tensor([[0, 1]]))
    blend = dataset.render(torch.tensor([[0, 0]])) / 2 + dataset.render(torch.tensor([[1, 1]])) / 2
    noise = torch.randn(image.shape, generator=random())
    for bad in (blend, noise, -torch.ones_like(image), torch.full_like(image, math.nan)):
        half = torch.cat([image[..., :8], bad[..., 8:]], dim=-1)
        words, legible = dataset.read(half)
        assert legible.tolist() == [[True, False]]
        assert words[0, 0] == 0


def test_the_hypercube_reads_signs() -> None:
    dataset = hypercube(ParityConfig(4).build())
    images = torch.tensor([[[[-1.1, 0.9, 0.1, -0.8]]]])
    words, legible = dataset.read(images)
    assert words.tolist() == [[0, 1, 1, 0]]
    assert legible.tolist() == [[True, True, False, True]]
    assert hypercube(ParityConfig(4).build(), (2, 2)).image_shape == (1, 2, 2)


def test_draw_uses_every_variant_evenly() -> None:
    dataset = SymbolImages(ParityConfig(1).build(), Glyphs.font("01", variants=4), (1, 1))
    images = dataset.draw(torch.zeros(4000, 1, dtype=torch.long), random())
    which = torch.cdist(images.flatten(1), dataset.glyphs.images[0].flatten(1)).argmin(1)
    counts = which.bincount(minlength=4)
    assert (counts - 1000).abs().max() < 5 * math.sqrt(4000 * 0.25 * 0.75)


def test_evidence_is_the_likelihood_of_the_noisy_cell() -> None:
    dataset = SymbolImages(
        ParityConfig(2).build(), Glyphs.font("01", cell=(4, 4), variants=3), (1, 2)
    )
    alpha, sigma = torch.tensor([0.6, 0.9]), torch.tensor([0.8, 0.3])
    x_t = torch.randn(2, 1, 4, 8, generator=random(), dtype=torch.float64)
    scores = dataset.evidence(x_t, alpha, sigma)
    cells = dataset.cells(x_t)
    for n in range(2):
        normal = torch.distributions.Normal(
            alpha[n].double() * dataset.glyphs.images.double(), sigma[n].double()
        )
        for i in range(2):
            by_variant = normal.log_prob(cells[n, i]).sum((-1, -2, -3))
            expected = by_variant.logsumexp(1) - math.log(3)
            # Equal up to a constant per cell.
            difference = scores[n, i] - expected
            assert difference.std() < 1e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SymbolImages(ParityConfig(6).build(), Glyphs.font("01"), (2, 2)),
            "2×2 has 4 cells.*have 6",
        ),
        (
            lambda: SymbolImages(ParityConfig(6).build(), Glyphs.font("012"), (1, 6)),
            "glyphs for 3 symbols",
        ),
        (lambda: hypercube(ModularSumConfig(2, 3, 3).build()), "glyphs for 2 symbols"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.read(torch.zeros(1, 1, 8, 17)), r"this dataset's are \(N, 1, 8, 16\)"),
        (lambda d: d.read(torch.zeros(1, 1, 8, 16, dtype=torch.uint8)), "must be floats"),
        (lambda d: d.render(torch.tensor([[0, 2]])), "outside the alphabet"),
        (lambda d: d.render(torch.tensor([[0, 1]]), torch.tensor([[0, 1]])), "variant"),
        (lambda d: d.render(torch.tensor([[0, 1]]), torch.tensor([0])), "variants have shape"),
        (
            lambda d: d.evidence(torch.zeros(1, 1, 8, 16), torch.ones(1), -torch.ones(1)),
            "sigma >= 0",
        ),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    dataset = SymbolImages(ParityConfig(2).build(), Glyphs.font("01"), (1, 2))
    with pytest.raises(UsageError, match=message):
        call(dataset)


def test_coloured_words_are_read_back() -> None:
    images = ColouredImagesConfig(shapes="+o", colours=("red", "blue", "yellow"), grid=(2, 2))
    dataset = images.build(ModularSumConfig(4, 6, 6).build())
    assert dataset.image_shape == (3, 16, 16)
    words = dataset.grammar.sample(200, random())
    drawn = dataset.draw(words, random())
    for noise in (0.0, 0.05):
        read, legible = dataset.read(drawn + noise * torch.randn(drawn.shape, generator=random()))
        assert torch.equal(read, words)
        assert legible.all()
    # The same shape in another colour is another symbol; half-way between them is none.
    between = (dataset.render(words) + dataset.render((words // 3) * 3 + (words + 1) % 3)) / 2
    assert not dataset.read(between)[1].any()
    distances = dataset.symbol_distances(drawn)
    assert torch.equal(distances.argmin(-1), words)
    assert torch.equal(dataset.image(dataset.cells(drawn)), drawn)


def test_the_evidence_of_a_clean_cell_is_certain() -> None:
    dataset = SymbolImages(
        ParityConfig(2).build(), Glyphs.font("01", cell=(4, 4), variants=3), (1, 2)
    )
    words, variants = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[2, 0], [1, 2]])
    images = dataset.render(words, variants)
    alpha, sigma = torch.tensor([[1.0, 0.6]]), torch.tensor([[0.0, 0.8]])
    evidence = dataset.glyph_evidence(images, alpha, sigma)
    sure = evidence[:, 0].flatten(1).softmax(1).reshape(2, 2, 3)
    for n in range(2):
        assert sure[n, words[n, 0], variants[n, 0]] == 1
        assert sure[n].sum() == 1
    # The other cell as if it were alone.
    alone = dataset.glyph_evidence(images, alpha[:, 1], sigma[:, 1])
    assert torch.equal(evidence[:, 1], alone[:, 1])
