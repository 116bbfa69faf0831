from typing import Any

import numpy as np
import pytest
import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.image_arrays import as_images
from diffprobe.foundations.errors import UsageError

WORLD = SymbolImages(ParityConfig(3).build(), Glyphs.font("01"), (1, 3))
SHAPE = WORLD.image_shape
IMAGES = WORLD.draw_images(20, torch.Generator().manual_seed(0))
BYTES = ((IMAGES + 1) * 127.5).round()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (IMAGES, "floats in [-1, 1]"),
        (IMAGES.double().numpy(), "floats in [-1, 1]"),
        ((IMAGES + 1) / 2, "floats in [0, 1]"),
        (((IMAGES + 1) / 2).half(), "floats in [0, 1]"),
        (BYTES, "floats in [0, 255]"),
        (BYTES.to(torch.uint8), "integers from 0 to 255"),
        (BYTES.numpy().astype(">i4"), "integers from 0 to 255"),
        ((BYTES.numpy() * 257).astype(np.uint16), "integers from 0 to 65535"),
        (((IMAGES[:, 0] + 1) / 2).numpy()[::-1], "floats in [0, 1]"),
        (((IMAGES + 1) / 2).permute(0, 2, 3, 1).numpy(), "floats in [0, 1]"),
        (((IMAGES + 1) / 2).expand(-1, 3, -1, -1), "floats in [0, 1]"),
        (BYTES.to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3), "from 0 to 255"),
        (IMAGES.numpy().astype(np.longdouble), "floats in [-1, 1]"),
        (IMAGES.tolist(), "floats in [-1, 1]"),
    ],
)
def test_every_layout_and_scale_gives_the_same_images(given: Any, said: str) -> None:
    images, notes = as_images(given, SHAPE)
    if isinstance(given, np.ndarray) and given.strides[0] < 0:
        images = images.flip(0)
    assert images.dtype == torch.float32
    assert torch.allclose(images, IMAGES, atol=0.005)
    assert said in notes[-1]


def test_what_was_changed_in_the_layout_is_said() -> None:
    _, notes = as_images(IMAGES.permute(0, 2, 3, 1).expand(-1, -1, -1, 3), SHAPE)
    assert "Of the array 20 × 8 × 24 × 3 the last axis was taken for the channels." in notes
    assert "Three equal channels were read as grey." in notes
    coloured, notes = as_images(IMAGES, (3, *SHAPE[1:]))
    assert coloured.shape == (20, 3, 8, 24)
    assert "Grey images were read as three equal channels." in notes
    one, _ = as_images(torch.zeros(3, 8, 8) - 1, (3, 8, 8))
    assert one.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("given", "read", "said"),
    [
        (torch.zeros(2, *SHAPE), 0.0, "fits [0, 1], too: if they are, give 2 x - 1"),
        (torch.full((2, *SHAPE), 1.5), 2.0, "not quite [0, 1]: see whether that is right"),
        (torch.ones(2, *SHAPE, dtype=torch.uint8), 1.0, "nothing but 0 and 1"),
        (torch.ones(2, *SHAPE, dtype=torch.bool), 1.0, "yes and no"),
        (-torch.ones(2, *SHAPE, dtype=torch.int8), -1.0, "integers in [-1, 1]"),
    ],
)
def test_what_is_not_clear_is_said(given: torch.Tensor, read: float, said: str) -> None:
    images, notes = as_images(given, SHAPE)
    assert torch.equal(images, torch.full((2, *SHAPE), read))
    assert said in notes[-1]


def test_a_few_broken_images_do_not_change_the_scale() -> None:
    given = (IMAGES + 1) / 2
    given[0] = torch.nan
    given[1, 0, 0, 0] = 1e30
    given[2, 0, 0, 0] = -1e30
    images, notes = as_images(given, SHAPE)
    assert torch.equal(images[3:], IMAGES[3:])
    assert "floats in [0, 1]: the typical one runs from 0 to 1." in notes[-1]
    assert "[-1, 1]" in as_images(torch.full((2, *SHAPE), torch.nan), SHAPE)[1][-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (IMAGES[..., :8], r"here: images have shape \(20, 1, 8, 8\); this dataset's are \(N, 1, 8"),
        (IMAGES[0, 0], r"images have shape \(8, 24\)"),
        (torch.rand(2, 3, *SHAPE[1:]), "3 channels that differ .image 0 is the first"),
        (torch.rand(2, 4, *SHAPE[1:]), r"shape \(2, 4, 8, 24\)"),
        (torch.full((2, *SHAPE), 70_000), "integers from 70,000 to 70,000 are no images"),
        (torch.full((2, *SHAPE), -5), "integers from -5 to -5 are no images"),
        (IMAGES.to(torch.complex64), "are no numbers"),
        (np.array([["a"]]), "are no numbers"),
        (np.array([object()]), "images of object are no numbers"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_images(given, SHAPE, "here")


def test_without_a_dataset_the_shape_is_what_it_is() -> None:
    assert as_images(torch.zeros(2, 5, 7))[0].shape == (2, 1, 5, 7)
    assert as_images(torch.zeros(2, 5, 7, 3))[0].shape == (2, 3, 5, 7)
    assert as_images(torch.zeros(2, 4, 5, 7))[0].shape == (2, 4, 5, 7)
    with pytest.raises(UsageError, match=r"they must be \(N, C, H, W\)"):
        as_images(torch.zeros(5, 7))
