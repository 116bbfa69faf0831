import math

import pytest
import torch

from diffprobe.datasets import DigitSum, Glyphs, Parity, SymbolImages
from diffprobe.errors import UsageError
from diffprobe.verdicts import judge


def test_planted_errors_are_found() -> None:
    dataset = SymbolImages(DigitSum(), Glyphs.font("0123456789"), (2, 2))
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
    assert summary["legible_cells"].count == 230
    assert summary["chance"]["product"] == pytest.approx(0.0705, abs=1e-4)
    assert summary["chance"]["uniform"] == pytest.approx(0.067)


def test_samples_that_are_not_finite_are_illegible() -> None:
    dataset = SymbolImages(Parity(2), Glyphs.font("01"), (1, 2))
    verdicts = judge(dataset, torch.full((3, 1, 8, 16), math.nan))
    assert verdicts.legible_rate.count == 0
    assert verdicts.grammatical_rate.value is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 1, 8, 16), "no samples"),
        (torch.zeros(2, 3, 8, 16), r"this dataset's are \(N, 1, 8, 16\)"),
        (torch.zeros(2, 1, 8, 16).int(), "must be floats"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor, message: str) -> None:
    dataset = SymbolImages(Parity(2), Glyphs.font("01"), (1, 2))
    with pytest.raises(UsageError, match=message):
        judge(dataset, images)
