"""Real handwritten digits 0 … 9, 8×8 pixels: scikit-learn's 1,797.

The file is ordered by writers' forms: one sequence of labels recurs about every 130 digits. The
training digits are the first ten forms and the held-out ones the rest, so no form is in both.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError

# Of the training forms, each read with the other nine: the standard deviation per pixel at which
# their labels are most likely (0.7 and 0.9 are worse), and the share that lies within the radius.
BANDWIDTH = 0.8
WITHIN = 0.99
FORMS = 10  # in the training digits
FIRST_HELD_OUT = 1287  # where the eleventh writer's form begins


class Digits(NamedTuple):
    """Pictures (M, h, w) float32 in [-1, 1] and the digits they show (M,) long."""

    images: Tensor
    labels: Tensor


def load_digits() -> tuple[Digits, Digits]:
    """Return the training digits and the held-out ones.

    Raises:
        UsageError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise UsageError(
            "handwritten digits need scikit-learn: pip install 'diffprobe[digits]'"
        ) from error
    data = load()
    images = torch.from_numpy(data.images).float() / 8 - 1
    labels = torch.from_numpy(data.target).long()
    return (
        Digits(images[:FIRST_HELD_OUT], labels[:FIRST_HELD_OUT]),
        Digits(images[FIRST_HELD_OUT:], labels[FIRST_HELD_OUT:]),
    )


def legible_radius(train: Digits) -> float:
    """Return the radius that holds the digits of each form when the reader knows the other forms.

    Args:
        train: The training digits.

    Returns:
        Root-mean-square distance per pixel.
    """
    images, labels = train
    form = torch.arange(len(images)) * FORMS // len(images)
    nearest = [
        torch.cdist(
            images[form == f].flatten(1),
            with_shifts(images[form != f][:, None], labels[form != f])[0].flatten(1),
        ).amin(1)
        for f in range(FORMS)
    ]
    pixels = images[0].numel()
    return (torch.cat(nearest) / math.sqrt(pixels)).quantile(WITHIN).item()


def with_shifts(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures (M, C, h, w) with each moved by a pixel to four sides: (5M, C, h, w), (5M,).

    What comes in at the border is paper.
    """
    height, width = images.shape[2:]
    paper = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    moved = [
        paper[..., top : top + height, left : left + width]
        for top, left in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    ]
    return torch.cat(moved), labels.repeat(5)
