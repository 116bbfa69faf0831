"""Which cells the heads of a network look at, beside what the Bayes optimum depends on.

A head's weights from the tokens of cell i to those of cell j, added up over the tokens of j and
averaged over those of i, are the attention of cell i to cell j: each row adds up to 1 where cells
tile the image. Weights say what a head looks at, not what it takes from there: beside them stand
the effects of patching it.

How well a head looks where the optimum depends is the rank correlation, over the cells j other than
i, of the attention of i to j with the optimum's dependence ‖J_ij‖² on the same noisy image, mean
over the cells i and over images. A head that looks at random has 0, and so in expectation has every
head whose looks do not follow the image where the grammar's cells are all alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals, memory
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.ranks import rank_correlation
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.probes.patching.components import region_of_tokens
from diffprobe.probes.patching.edits import attention_weights, network_of, watched_attention
from diffprobe.probes.patching.pairs import Pairs
from diffprobe.probing.jacobian import estimated_energies
from diffprobe.probing.regions import Regions

# Of the memory, what the weights of some queries may take.
WEIGHTS = 1 / 32
# Random vectors a cell for the optimum's dependence on each image.
PROJECTIONS = 4


@dataclass(frozen=True, repr=False)
class Attention(Measurement):
    """Attention between R cells of H heads at T noise levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        maps: Name of each of H heads, such as "blocks.1:head2" -> (T, R, R), attention of output
            cell i (row) to input cell j, mean over images.
        own: (H, T) attention of a cell to itself, mean over cells and images.
        agreement: (H, T) rank correlation with the optimum's dependence; NaN where there is no
            optimum, or fewer than two other cells.
        dependence: (T, R, R) of the optimum, mean over images of each image's share; None without.
        level: The index of the level at which the probes look.
    """

    t: Tensor
    log_snr: Tensor
    maps: dict[str, Tensor]
    own: Interval
    agreement: Interval
    dependence: Tensor | None
    level: int

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads."""
        return tuple(self.maps)

    def numbers(self) -> dict[str, Interval]:
        """Return each head's attention to the own cell, and its agreement."""
        return {
            f"{name}, {what}": value[h]
            for what, value in (("own", self.own), ("agreement", self.agreement))
            for h, name in enumerate(self.heads)
        }


def measure(
    denoiser: Denoiser,
    pairs: Pairs,
    modules: Sequence[str],
    levels: Sequence[int],
    common: ProbeConfig | None = None,
    *,
    regions: Regions,
    at: int = 0,
    bayes: Denoiser | None = None,
) -> Attention:
    """Record attention on the clean images of pairs.

    Args:
        denoiser: A network.
        pairs: Inputs.
        modules: At least one of `Components.looking`.
        levels: T timesteps.
        common: `batch_size`, `seed`.
        regions: R regions of the images.
        at: The index of the level at which the probes look.
        bayes: The exact posterior mean, where it is known.
    """
    common = common or ProbeConfig()
    maps, own, agrees, dependence = [], [], [], []
    names: tuple[str, ...] = ()
    for t in levels:
        found = recorded_maps(denoiser, pairs, modules, t, common, regions)
        names = tuple(f"{name}:head{h}" for name, m in found.items() for h in range(m.shape[1]))
        weights = torch.cat(list(found.values()), 1)  # (N, H, R, R)
        maps.append(weights.mean(0))
        diagonal = weights.diagonal(dim1=-2, dim2=-1).mean(-1)
        own.append(intervals.mean(diagonal.T, pairs.sources, resolution=intervals.RESOLUTION))
        energies = None if bayes is None else dependence_of(bayes, pairs, t, common, regions)
        if energies is not None:
            shares = energies / energies.sum((1, 2), keepdim=True)
            dependence.append(shares.nanmean(0))
        agrees.append(intervals.mean(agreement(weights, energies).T, pairs.sources))
    over_levels = [intervals.stacked(each) for each in (own, agrees)]
    told = [Interval(**{n: v.movedim(0, -1) for n, v in vars(i).items()}) for i in over_levels]
    return Attention(
        t=torch.tensor(list(levels)),
        log_snr=denoiser.log_snr(torch.tensor(list(levels))).cpu(),
        maps=dict(zip(names, torch.stack(maps, 1), strict=True)),
        own=told[0],
        agreement=told[1],
        dependence=torch.stack(dependence) if dependence else None,
        level=at,
    )


@torch.no_grad()
def recorded_maps(
    denoiser: Denoiser,
    pairs: Pairs,
    modules: Sequence[str],
    t: int,
    common: ProbeConfig,
    regions: Regions,
) -> dict[str, Tensor]:
    """Return module -> attention between cells of each image: (N, heads, R, R) float64.

    Of a module that attends several times for an image the first counts: with guidance, that with
    the condition.
    """
    network = network_of(denoiser)
    size = inputs_at_once(denoiser, pairs.image_shape, common.batch_size)
    found: dict[str, list[Tensor]] = {}
    for rows in torch.arange(len(pairs)).split(size):
        seen: dict[str, Tensor] = {}

        def look(
            name: str,
            query: Tensor,
            key: Tensor,
            how: Mapping[str, Any],
            heard: Tensor,
            seen: dict[str, Tensor] = seen,
        ) -> Tensor:
            if name in modules and name not in seen:
                owner = region_of_tokens((1, query.shape[2], 1), network, regions)
                if owner is not None:
                    seen[name] = between_cells(query, key, how, owner, len(regions))
            return heard

        x_t, _ = pairs.at(denoiser, t, rows)
        with watched_attention(network, look):
            denoiser(x_t, torch.full((len(rows),), t, device=x_t.device))
        for name, weights in seen.items():
            found.setdefault(name, []).append(weights.cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def between_cells(
    query: Tensor, key: Tensor, how: Mapping[str, Any], owner: Tensor, cells: int
) -> Tensor:
    """Return attention between cells, without holding that between all tokens at once.

    Args:
        query, key, how: As for `attention_weights`.
        owner: (tokens,) the cell of each token, -1 for none.
        cells: How many there are.

    Returns:
        (B, heads, cells, cells) float64.
    """
    one_hot = torch.nn.functional.one_hot(owner + 1, cells + 1)[:, 1:]
    tokens = in_double(one_hot.to(query.device))
    total = in_double(query.new_zeros((*query.shape[:2], cells, cells)))
    mask = how.get("attn_mask")
    each = 12 * query.shape[0] * query.shape[1] * key.shape[2]
    for rows in torch.arange(query.shape[2]).split(memory.items(each, WEIGHTS)):
        some = mask if mask is None or mask.shape[-2] == 1 else mask[..., rows, :]
        weights = attention_weights(query[:, :, rows], key, {**how, "attn_mask": some})
        total += tokens[rows].T @ (in_double(weights) @ tokens)
    return total / tokens.sum(0)[:, None]


def dependence_of(
    bayes: Denoiser, pairs: Pairs, t: int, common: ProbeConfig, regions: Regions
) -> Tensor:
    """Return the optimum's energies between cells of each clean image: (N, R, R) float64."""
    found = []
    for index, rows in enumerate(torch.arange(len(pairs)).split(common.batch_size)):
        x_t, _ = pairs.at(bayes, t, rows)
        random = generator(common.seed, f"patching, dependence/{t}", index)
        energies = estimated_energies(bayes, x_t, t, regions, PROJECTIONS, random)
        found.append(energies.mean(1)[..., : len(regions)].cpu())
    return torch.cat(found)


def agreement(weights: Tensor, energies: Tensor | None) -> Tensor:
    """Return rank correlations over the other cells, mean over cells: (N, H).

    Args:
        weights: (N, H, R, R) attention between cells.
        energies: (N, R, R) of the optimum, where it is known.

    Returns:
        NaN without an optimum, and with fewer than two other cells.
    """
    n, heads, cells, _ = weights.shape
    if energies is None or cells < 3:
        return torch.full((n, heads), torch.nan, dtype=torch.float64)
    others = ~torch.eye(cells, dtype=torch.bool)
    looks = weights[..., others].unflatten(-1, (cells, cells - 1))
    depends = energies[..., others].unflatten(-1, (cells, cells - 1))
    found = [rank_correlation(looks[:, h], depends).nanmean(-1) for h in range(heads)]
    return torch.stack(found, 1)
