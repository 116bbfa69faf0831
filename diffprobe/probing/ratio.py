"""What energies between regions say: shares, the local dependency ratio, and decay with distance.

With B the energies of one input, output region i by input part j,

    share   S_ij = B_ij / sum of all B          ratio   sum of S_ii

are taken for each input and then averaged, so that an input on which much depends counts no more
than any other. From random projections the ratio of estimates is biased in the order of 1/P; the
jackknife over the P projections,

    f_J = P f(all) − (P − 1) mean over p of f(all but p),

leaves a bias in the order of 1/P².

Reference:
    Quenouille, "Notes on bias in estimation", 1956.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import Interval
from diffprobe.probing.regions import Regions

# Energy per region below which an output depends on nothing, and asking on what makes no sense: an
# oracle of few glyphs is a constant at low noise. An identity has one unit per pixel.
NO_DEPENDENCE = 1e-6
# Of the decay with distance, which is drawn on a logarithmic axis: what is less is not told apart.
FLOOR = 1e-6


def local_dependency_ratios(energies: Tensor, variant: str = "squared") -> Tensor:
    """Return the local dependency ratio of each input.

    Args:
        energies: (N, P, R, S) of N inputs from P projections, output region by input part; squared
            norms, or sums of absolute values for the variant l1.
        variant: See `diffprobe.probes.locality`.

    Returns:
        (N,) float64; NaN where the output depends on nothing.
    """

    def of(energies: Tensor) -> Tensor:
        local, everything = _local_and_all(energies, variant)
        return local / everything

    return _told(jackknife(of, energies), energies)


def share_among(ratios: Tensor, sources: Tensor, told: Tensor) -> tuple[Tensor, Interval]:
    """Return each input's ratio, and their mean, over those inputs alone that are `told (N,)`.

    Returns:
        (N,), NaN for the others; and the mean with the resolution at which shares are told.
    """
    kept = ratios.where(told, math.nan)
    return kept, intervals.mean(kept, sources, resolution=intervals.RESOLUTION)


def pooled_ratio(energies: Tensor, variant: str, sources: Tensor | None = None) -> Interval:
    """Return the ratio of the means over inputs, ruled by those on which much depends: ().

    Args:
        energies, variant: As for `local_dependency_ratios`.
        sources: (N,) what each input was made from; see `diffprobe.foundations.intervals`.
    """
    local, everything = _local_and_all(energies.mean(1), variant)
    found = intervals.ratio(local, everything, sources, resolution=intervals.RESOLUTION)
    return found.where(everything.mean() > NO_DEPENDENCE * energies.shape[2])


def energy_shares(energies: Tensor) -> Tensor:
    """Return each input's share of its energy between regions i and parts j.

    Args:
        energies: (N, P, R, S).

    Returns:
        (N, R, S) float64, adding up to 1; NaN where the output depends on nothing.
    """
    parts = jackknife(lambda e: e / e.sum((-2, -1), keepdim=True), energies)
    return _told(parts.flatten(1), energies).reshape(parts.shape)


def jackknife(function: Callable[[Tensor], Tensor], draws: Tensor) -> Tensor:
    """Return a function of a mean over draws, without its bias of first order.

    Args:
        function: From (N, …) to (N, …).
        draws: (N, P, …); P = 1 is taken for exact.
    """
    p = draws.shape[1]
    total = draws.sum(1)
    found = function(total / p)
    if p == 1:
        return found
    left = torch.stack([function((total - draw) / (p - 1)) for draw in draws.unbind(1)])
    return p * found - (p - 1) * left.mean(0)


def region_distances(regions: Regions) -> tuple[Tensor, Tensor]:
    """Return the distinct distances between regions (K,), and which pairs have each (K, R, R)."""
    between = torch.cdist(regions.centres, regions.centres).round(decimals=2)
    between.fill_diagonal_(0)
    distances = between.unique()
    return distances, (between == distances[:, None, None]).double()


def decay_with_distance(shares: Tensor, pairs: Tensor, sources: Tensor | None = None) -> Interval:
    """Return the mean share at each distance, relative to that at distance 0: (K,).

    Args:
        shares: (N, R, S), NaN for inputs that depend on nothing.
        pairs: (K, R, R), which pairs of regions have each distance.
        sources: (N,).
    """
    told = shares[:, 0, 0].isfinite()
    if not told.any():
        nothing = torch.full((len(pairs), 1), math.nan, dtype=torch.float64)
        return intervals.mean(nothing)
    known = shares[told][..., : pairs.shape[1]]
    at = torch.einsum("nij,kij->kn", known, pairs) / pairs.sum((1, 2))[:, None]
    kept = None if sources is None else sources[told]
    return intervals.ratio(at, at[:1].expand_as(at), kept, resolution=FLOOR)


def _local_and_all(energies: Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Energy of the regions on themselves, and all of it: (N,) each from (N, R, S)."""
    own = energies.diagonal(dim1=-2, dim2=-1)
    whole = energies.sum(-1)
    if variant == "frobenius":
        own, whole = own.sqrt(), whole.sqrt()
    return own.sum(-1), whole.sum(-1)


def _told(values: Tensor, energies: Tensor) -> Tensor:
    """Leave out the inputs `(N, …)` whose outputs depend on nothing."""
    everything = energies.mean(1).sum((1, 2))
    depends = everything > NO_DEPENDENCE * energies.shape[2]
    return values.where(depends.reshape(-1, *(1,) * (values.ndim - 1)), math.nan)
