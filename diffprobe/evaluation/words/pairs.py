"""Pairs of cells: how their symbols hang together in samples, beside the language.

Joint shares are (L, V, L, V): cell, symbol, cell, symbol. Those of a cell with itself are the
shares of its symbols, on the diagonal.
"""

import math

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.evaluation.words.estimators import (
    WordStatistic,
    score_interval,
    spread,
    squared_distance,
)
from diffprobe.foundations.statistics import Z95


def pair_difference(
    one_hot: Tensor, observed: Tensor, language: Tensor, agree: Tensor, agree_exact: Tensor
) -> WordStatistic:
    """RMS difference of joint shares; a word's feature is the one-hot of each pair of cells."""
    length, symbols = language.shape[:2]
    pairs = length * (length - 1) / 2
    entries = max(1.0, pairs) * symbols**2
    difference, truth = _off_diagonal(observed - language), _off_diagonal(language)
    projections = _quadratic_form(one_hot, difference) - float((truth * difference).sum()) / 2
    norm = pairs - float((truth * _off_diagonal(observed)).sum())
    norm += float(truth.square().sum()) / 2
    return squared_distance(
        projections / entries,
        norm / entries,
        spread(agree * (agree - 1) / 2) / entries**2,
        0.0,
        spread(agree_exact * (agree_exact - 1) / 2) / entries**2,
    ).root()


def captured(one_hot: Tensor, observed: Tensor, language: Tensor) -> WordStatistic:
    """<Cov, C> / <C, C> over pairs of cells, C the language's covariance of one-hot symbols."""
    n = len(one_hot)
    p, q = diagonal(observed), diagonal(language)
    truth = _off_diagonal(language - q[:, :, None, None] * q)
    energy = float(truth.square().sum()) / 2
    if energy < 1e-12:
        return WordStatistic(value=None, low=-math.inf, high=math.inf, n=n)
    each = _quadratic_form(one_hot - p.flatten().to(one_hot), truth) / energy
    value = float(each.sum()) / (n - 1)
    margin = Z95 * float(each.std()) / math.sqrt(n)
    # Among independent cells the pairs' terms are uncorrelated.
    independent = float((q[:, :, None, None] * q * truth.square()).sum()) / 2 / energy**2
    edge = Z95 * math.sqrt(independent / n)
    return WordStatistic(
        value=value,
        low=value - margin,
        high=value + margin,
        n=n,
        language=1.0,
        floor=(-edge, edge),
    )


def cramers_v(joint: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cramér's V of each pair of cells with its interval: (L, L) each.

        phi² = sum_ab p_ab² / (p_a p_b) − 1,    E phi² = (r − 1)(c − 1) / (n − 1) by chance

    and Var phi² = Var(influence) / n + 2 (r − 1)(c − 1) / n², the first in proportion to phi².
    Bergsma corrects the numbers of symbols r and c as well; here phi² alone is corrected.

    Reference:
        Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", 2013, equation 4;
        Bishop, Fienberg & Holland, "Discrete multivariate analysis", 1975, section 11.3.
    """
    p = diagonal(joint)
    ratio = _ratio(joint)
    plug_in = phi_square(joint)
    weighted = joint * ratio
    rows = (weighted.sum(3) / p[:, :, None]).nan_to_num()[..., None]
    columns = (weighted.sum(1) / p).nan_to_num()[:, None]
    influence = 2 * ratio - rows - columns
    mean = (joint * influence).sum((1, 3))
    variance = (joint * influence.square()).sum((1, 3)) - mean.square()
    degrees = _degrees(joint)
    scale = max(1, joint.shape[1] - 1)
    value = plug_in - degrees / (n - 1)
    ends = [
        score_interval(v, s, c)
        for v, s, c in zip(
            value.flatten().tolist(),
            (variance / plug_in / n).nan_to_num(0, 0, 0).flatten().tolist(),
            (2 * degrees / n**2).flatten().tolist(),
            strict=True,
        )
    ]
    low, high = torch.tensor(ends, dtype=torch.float64).reshape(*value.shape, 2).unbind(-1)
    found = [(x / scale).clamp(0, 1).sqrt() for x in (value, low, high)]
    for matrix in found:
        matrix.fill_diagonal_(1.0)
    return found[0], found[1], found[2]


def independence_floor(joint: Tensor, n: int) -> Tensor:
    """Return the 97.5 % quantile of V in n words of independent cells: (L, L)."""
    edge = Z95 * (2 * _degrees(joint)).sqrt() / n
    return (edge / max(1, joint.shape[1] - 1)).sqrt().fill_diagonal_(0.0)


def _degrees(joint: Tensor) -> Tensor:
    used = (diagonal(joint) > 0).sum(1).double() - 1
    return used[:, None] * used


def phi_square(joint: Tensor) -> Tensor:
    """Return phi² of each pair of cells: (L, L)."""
    return (joint * _ratio(joint)).sum((1, 3)) - 1


def _ratio(joint: Tensor) -> Tensor:
    p = diagonal(joint)
    return (joint / (p[:, :, None, None] * p)).nan_to_num(0.0)


def diagonal(joint: Tensor) -> Tensor:
    """Shares of symbols from joint shares: (L, V)."""
    return joint.diagonal(dim1=1, dim2=3).diagonal(dim1=0, dim2=1).T


def _off_diagonal(joint: Tensor) -> Tensor:
    """Without the pairs of a cell with itself."""
    same = torch.eye(len(joint), dtype=torch.bool)[:, None, :, None]
    return joint.masked_fill(same, 0.0)


def _quadratic_form(one_hot: Tensor, matrix: Tensor) -> Tensor:
    """Half of x' M x for each row x, M over pairs of cells: each pair once. (n,)"""
    flat = rearrange(matrix, "i a j b -> (i a) (j b)").to(one_hot)
    return ((one_hot @ flat) * one_hot).sum(1).double() / 2


def indicators(words: Tensor, symbols: int) -> Tensor:
    """Return the one-hot symbols of `words (n, L)`: (n, L V) float."""
    return torch.nn.functional.one_hot(words, symbols).flatten(1).float()
