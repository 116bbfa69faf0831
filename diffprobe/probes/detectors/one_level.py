"""Detectors that look at a sample at one noise level."""

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.jacobian import batches, estimated_energies
from diffprobe.probing.regions import Regions


def energies_of(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Regions, projections: int, common: ProbeConfig
) -> Tensor:
    """Return how regions depend on parts of each sample, from each projection: (N, P, R, S).

    The projections are the same for every denoiser.
    """
    return torch.cat(
        [
            estimated_energies(
                denoiser,
                batch,
                t,
                regions,
                projections,
                generator(common.seed, "detectors/projections", index),
            ).cpu()
            for index, batch in enumerate(batches(x_t, common.batch_size))
        ]
    )


def ratios_as_scores(energies: Tensor) -> Tensor:
    """Return the LDR of each sample over all regions, from (N, P, R, S): (N,)."""
    energies = energies.mean(1)
    local = energies.diagonal(dim1=1, dim2=2)
    # Not the whole less the local: rounding would order what depends on no other region.
    others = (energies * (1 - torch.eye(*energies.shape[1:]).to(energies))).sum((1, 2))
    return (local.sum(1) / (local.sum(1) + others)).nan_to_num(1.0)


def changed_by_renoising(
    denoiser: Denoiser,
    dataset: SymbolImages,
    images: Tensor,
    t: int,
    renoisings: int,
    common: ProbeConfig,
) -> Tensor:
    """Return the share of cells that another draw of noise at `t` reads differently: (N,)."""
    shares = []
    for index, batch in enumerate(batches(images.to(denoiser.device), common.batch_size)):
        random = generator(common.seed, "detectors/re-noising", index, denoiser.device)
        level = torch.full((len(batch),), t, device=denoiser.device)
        words, _ = dataset.read(batch)
        changed = torch.zeros_like(words, dtype=torch.float64)
        for _ in range(renoisings):
            again, _ = dataset.read(denoiser(denoiser.noise(batch, level, random), level))
            changed += again != words
        shares.append(changed.mean(1) / renoisings)
    return torch.cat(shares)


def log_odds_of_invalid(denoiser: Denoiser, dataset: SymbolImages, x_t: Tensor, t: int) -> Tensor:
    """Return the log odds that cells read one by one spell an invalid word: (N,), in nats."""
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device), torch.float64)
    grammar = dataset.grammar
    evidence = dataset.evidence(x_t.double(), alpha.flatten(), sigma.flatten())
    posterior = (evidence + grammar.symbol_marginals().to(evidence).log()).log_softmax(-1)
    log_valid = torch.cat([grammar.log_partition(rows) for rows in grammar.chunks(posterior)])
    # Rounding would order the samples that are valid for certain.
    log_valid = log_valid.clamp(max=-1e-12)
    odds: Tensor = (-log_valid.expm1()).log() - log_valid
    return odds
