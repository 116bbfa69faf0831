"""Regions: sets of output pixels whose dependence is asked about."""

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages


def cell_regions(dataset: SymbolImages) -> Tensor:
    """Return one region per cell of the dataset: (L, 1, H, W) bool, a partition of the image."""
    length = dataset.grammar.length
    height, width = dataset.glyphs.cell
    owner = torch.eye(length, dtype=torch.bool)[:, :, None, None]
    return dataset.image(owner.expand(-1, -1, height, width))
