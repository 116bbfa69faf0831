"""Which cells a map names first, and whether another map, or the truth, names the same.

Maps are compared by |map| summed over each of K cells: Spearman's rank correlation of those sums,
for one image at a time. What is rounding has no order: an image whose map adds up to next to
nothing says nothing, and is left out; a cell with next to nothing of its map's strongest is 0. How
little that is must not depend on the other images: maps of the optimum spread over eight decades,
and what would count as small beside a mean of 64 of them changes from sample to sample.
"""

import math

import torch
from torch import Tensor

from diffprobe.foundations.ranks import rank_correlation

# Of the size of F: some hundred times what float32 leaves of it where an output is certain.
# Of a map's strongest cell, the same.
RESOLUTION = 1e-5
# An image is no test of a map where the true effects are smaller than this share of their mean.
NEGLIGIBLE = 0.01


def telling(cell_sums: Tensor, size: Tensor) -> Tensor:
    """Return sums of |map| without what is rounding: cells as 0, whole maps as NaN.

    Args:
        cell_sums: (…, N, K).
        size: (N,) or of no dimension, how large F can be; the sum of |w| in images of values ±1.
    """
    total = cell_sums.sum(-1, keepdim=True)
    return _resolved(cell_sums).masked_fill(total <= RESOLUTION * size[..., None], math.nan)


def truthfulness(
    cell_sums: Tensor, truth: Tensor, region: int, *, others: bool, size: Tensor | float = 0.0
) -> Tensor:
    """Return the rank correlation of maps with a true effect, over cells.

    A map that gives all cells the same names none of them, and scores 0, which is what cells in
    random order have on average. An image whose truth is negligible or has no order is left out.

    Args:
        cell_sums: (…, N, K), sums of |map|.
        truth: (N, K) float64, not negative.
        region: The cell whose output is attributed.
        others: Leave that cell out, of ranking and of what is negligible.
        size: (N,), as for `telling`; what differs by some float32 roundings of it is no order.

    Returns:
        (…, N), NaN where the truth says nothing.
    """
    told, truth = _resolved(cell_sums).double(), _resolved(truth)
    if others:
        rest = torch.arange(truth.shape[-1]) != region
        told, truth = told[..., rest], truth[..., rest]
    told = _tied(told, 4 * torch.finfo(torch.float32).eps * torch.as_tensor(size)[..., None])
    right = _true_order(truth)
    silent = (told == told[..., :1]).all(-1) & rank_correlation(right, right).isfinite()
    return rank_correlation(told, right).masked_fill(silent, 0.0)


def own_cell_alone(truth: Tensor, region: int) -> Tensor:
    """Return how maps score on average that know the region's own cell and guess the others.

        E[rho] = rho(truth, own cell ahead of a tie) sqrt(3 / (K + 1)),

    which is 3 / (K + 1) where the own cell is first in the truth.

    Args:
        truth: (N, K) float64, not negative.
        region: The own cell.

    Returns:
        (N,), NaN where the truth says nothing.
    """
    right = _true_order(_resolved(truth))
    cells = right.shape[-1]
    own = (torch.arange(cells) == region).double()
    # Of the guessed ranks only their mean counts, but all of them are in the variance.
    return rank_correlation(right, own) * math.sqrt(3 / (cells + 1))


def _resolved(cell_sums: Tensor) -> Tensor:
    """Return `cell_sums (…, K)` with 0 where they are next to nothing of the strongest."""
    return cell_sums.where(cell_sums > RESOLUTION * cell_sums.amax(-1, keepdim=True), 0)


def _true_order(truth: Tensor) -> Tensor:
    strongest, total = truth.amax(-1, keepdim=True), truth.sum(-1, keepdim=True)
    negligible = total <= NEGLIGIBLE * total.mean(-2, keepdim=True)
    return _tied(truth, 1e-9 * strongest).masked_fill(negligible, math.nan)


def _tied(values: Tensor, rounding: Tensor) -> Tensor:
    """Return numbers in the order of `values (…, K)`, the same for those less than that apart."""
    ordered = values.sort(-1)
    apart = ordered.values.diff(prepend=ordered.values[..., :1]) > rounding
    return torch.zeros_like(values).scatter(-1, ordered.indices, apart.double().cumsum(-1))
