"""What energies between regions say: the local dependency ratio, its decay, and their errors.

Errors are by influence: with f a function of means over N independent inputs, the influence of an
input is N times the first-order change of f that it makes, and the standard error of f is

    sqrt(sum of influences² / (N (N - 1))).
"""

import math

import torch
from torch import Tensor

from diffprobe.probes.regions import Regions

# Energy per region below which an output depends on nothing, and asking on what makes no sense: an
# oracle of few glyphs is a constant at low noise. An identity has one unit per pixel.
NO_DEPENDENCE = 1e-6


def local_dependency_ratio(energies: Tensor, variant: str = "squared") -> tuple[float, Tensor]:
    """Return the LDR over all cells, and the influence of each input on it.

    Args:
        energies: (N, L, L) of N inputs, output cell by input cell; squared norms, or sums of
            absolute values for the variant l1.
        variant: See `diffprobe.probes.locality`.

    Returns:
        The ratio, and (N,) influences: first-order changes of the ratio, times N.
    """
    if variant == "frobenius":
        local = energies.diagonal(dim1=1, dim2=2).sqrt().sum(1)
        everything = energies.sum(2).sqrt().sum(1)
    else:
        local = energies.diagonal(dim1=1, dim2=2).sum(1)
        everything = energies.sum((1, 2))
    if everything.mean() <= NO_DEPENDENCE * energies.shape[1]:
        return math.nan, torch.full_like(local, math.nan)
    if variant == "mean-of-ratios":
        ratios = local / everything
        return ratios.mean().item(), ratios - ratios.mean()
    ratio = local.sum() / everything.sum()
    return ratio.item(), (local - ratio * everything) / everything.mean()


def standard_error(influence: Tensor) -> Tensor:
    """Return the standard error that influences `(…, N)` make, NaN ones left out: (…)."""
    n = influence.isfinite().sum(-1)
    return influence.square().nansum(-1).div(n * (n - 1)).sqrt()


def region_distances(regions: Regions) -> tuple[Tensor, Tensor]:
    """Return the distinct distances between regions (K,), and which pairs have each (K, R, R)."""
    between = torch.cdist(regions.centres, regions.centres).round(decimals=2)
    between.fill_diagonal_(0)
    distances = between.unique()
    return distances, (between == distances[:, None, None]).double()


def decay_with_distance(energies: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy at each distance as a share of that at distance 0, and its error: (K,)."""
    at = torch.einsum("nij,kij->nk", energies, pairs) / pairs.sum((1, 2))
    own = at[:, :1]
    if own.mean() <= NO_DEPENDENCE:
        undefined = torch.full((len(pairs),), math.nan, dtype=torch.float64)
        return undefined, undefined
    share = at.mean(0) / own.mean()
    influence = (at - share * own) / own.mean()
    return share, standard_error(influence.T)
