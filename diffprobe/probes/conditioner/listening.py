"""How regions of the output depend on the tokens of a condition.

    replaced   c' has another token j than c:             B_ij = ‖(x0_hat(c') - x0_hat(c))_i‖²
    jacobian   J_ij = d x0_hat of region i / d token j:   B_ij = ‖J_ij‖_F², of its embedding

The tokens of the condition take the place that regions of the input have in the local dependency
ratio. Where token i is told of cell i,

    LDR = E [ sum_i B_ii / sum_ij B_ij ],

the conditioner's: 1 where each region listens to its own token alone. And of any condition

    tokens in effect = E mean over regions i of (sum_j B_ij)² / sum_j B_ij²:

1 where a region listens to one of them, the number of tokens M where to all alike. An exact optimum
has no embeddings, so that its matrix is of replaced tokens.

Reference:
    Bradley, "Local mechanisms of compositional generalization in conditional diffusion",
    arXiv:2509.16447: scores that depend on few pixels and few conditioners each. The two norms are
    ours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from diffprobe.foundations import intervals
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.jacobian import rademacher
from diffprobe.probing.ratio import (
    NO_DEPENDENCE,
    energy_shares,
    jackknife,
    local_dependency_ratios,
)
from diffprobe.probing.regions import Regions


class Tell(Protocol):
    """How a denoiser is told a condition of each image."""

    def __call__(self, told: Tensor) -> Denoiser:
        """Return the denoiser with conditions (B, M) long, or embeddings (B, M, width)."""


@dataclass(frozen=True, repr=False)
class Listening(Measurement):
    """Who listens to which token, at one noise level.

    Attributes:
        shares: (R, M) share of region i's dependence on token j in all of an input's, mean over
            inputs.
        ratios: (2, N) of each input, the share of the own tokens and the tokens in effect; NaN
            where the output depends on none, and the first where tokens are not told of cells.
        sources: (N,) long, the picture that each input was made from.
        local_share: () mean of the first, the conditioner's LDR.
        tokens_in_effect: () mean of the second.
        of_cells: Whether token i is told of region i; where not there is no share of its own.
        kind: "replaced" or "jacobian".
        tokens: M names.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs, projections and seed.
    """

    shares: Interval
    ratios: Tensor
    sources: Tensor
    local_share: Interval
    tokens_in_effect: Interval
    of_cells: bool
    kind: str
    tokens: tuple[str, ...]
    t: int
    log_snr: float
    settings: dict[str, Any]

    @classmethod
    def of(cls, energies: Tensor, sources: Tensor, *, of_cells: bool, **more: Any) -> "Listening":
        """Return what energies say.

        Args:
            energies: (N, P, R, M) of N inputs from P projections; P = 1 is exact.
            sources: (N,) long.
            of_cells: As the field.
            more: The other fields.
        """
        own = local_dependency_ratios(energies)
        ratios = torch.stack([own if of_cells else own * math.nan, tokens_in_effect(energies)])
        return cls(
            shares=intervals.mean(
                energy_shares(energies).movedim(0, -1), sources, resolution=RESOLUTION
            ),
            ratios=ratios,
            sources=sources,
            **_means(ratios, sources),
            of_cells=of_cells,
            **more,
        )

    def among(self, told: Tensor) -> "Listening":
        """Return the same with means over those inputs alone that are `told (N,)`."""
        ratios = self.ratios.where(told, math.nan)
        return replace(self, ratios=ratios, **_means(ratios, self.sources))


def tokens_in_effect(energies: Tensor) -> Tensor:
    """Return to how many tokens a region listens in effect, mean over regions that listen: (N,).

    Args:
        energies: (N, P, R, M), as `Listening.of` takes them.

    Returns:
        (N,) from 1 to M up to what projections are off by; NaN where the output depends on none,
        by the same rule as its shares.
    """
    found = jackknife(lambda e: e.sum(-1).square() / e.square().sum(-1), energies)
    listens = energies.mean(1).sum(-1) > NO_DEPENDENCE
    depends = local_dependency_ratios(energies).isfinite()
    return found.where(listens, math.nan).nanmean(-1).where(depends, math.nan)


@torch.no_grad()
def replaced_energies(
    tell: Tell, x_t: Tensor, t: int, told: Tensor, others: Tensor, regions: Regions
) -> Tensor:
    """Return how much each region changes when each token is replaced: (N, 1, R, M) float64.

    Args:
        tell: Of the denoiser.
        x_t: (N, C, H, W).
        t: Noise level.
        told: (N, M) long, or embeddings (N, M, width).
        others: Of the same shape, what stands in the place of each token; where it is the same
            nothing changes.
        regions: R regions.
    """
    level = torch.full((len(x_t),), t, device=x_t.device)
    masks = in_double(regions.masks.flatten(1).to(x_t.device))
    before = tell(told)(x_t, level)
    columns = []
    for j in range(told.shape[1]):
        changed = told.clone()
        changed[:, j] = others[:, j]
        squares = in_double(tell(changed)(x_t, level) - before).square().flatten(1)
        columns.append(squares @ masks.T)
    return torch.stack(columns, -1)[:, None]


def jacobian_energies(
    tell: Tell,
    x_t: Tensor,
    t: int,
    embeddings: Tensor,
    regions: Regions,
    projections: int,
    generator: torch.Generator,
) -> Tensor:
    """Return estimates of ‖d x0_hat in region i / d embedding of token j‖_F².

    Args:
        tell, x_t, t, regions: As for `replaced_energies`.
        embeddings: (N, M, width).
        projections: P random vectors per region.
        generator: On the CPU.

    Returns:
        (N, P, R, M) float64, unbiased each.
    """
    level = torch.full((len(x_t),), t, device=x_t.device)
    leaf = embeddings.detach().requires_grad_()
    with torch.enable_grad():
        output = tell(leaf)(x_t, level)
    found = in_double(x_t.new_zeros(len(x_t), projections, len(regions), embeddings.shape[1]))
    for draw, region in _every(projections, len(regions)):
        u = rademacher(output, generator) * regions.masks[region].to(output)
        (row,) = torch.autograd.grad(output, leaf, u, retain_graph=True, materialize_grads=True)
        found[:, draw, region] = in_double(row).square().sum(-1)
    return found


def _every(projections: int, regions: int) -> Iterator[tuple[int, int]]:
    return ((draw, region) for draw in range(projections) for region in range(regions))


def _means(ratios: Tensor, sources: Tensor) -> dict[str, Any]:
    return {
        "local_share": intervals.mean(ratios[0], sources, resolution=RESOLUTION),
        "tokens_in_effect": intervals.mean(ratios[1], sources, resolution=RESOLUTION),
    }
