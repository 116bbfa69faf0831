"""Detectors that look at a sample at one noise level."""

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.jacobian import batches, estimated_energies
from diffprobe.probing.regions import Regions
from diffprobe.sampling import Given


def energies_of(
    denoiser: Denoiser,
    x_t: Tensor,
    t: int,
    regions: Regions,
    projections: int,
    common: ProbeConfig,
    given: Given | None = None,
) -> Tensor:
    """Return how regions depend on parts of each sample, from each projection: (N, P, R, S).

    The projections are the same for every denoiser. What is `given` is clean in `x_t`, and a region
    that is given as a whole depends on nothing.
    """
    of_batch, found = Levels(t, given), []
    for index, batch in enumerate(batches(x_t, common.batch_size)):
        levels = of_batch.next(batch)
        random = generator(common.seed, "detectors/projections", index)
        energies = estimated_energies(
            denoiser, batch, t if given is None else levels, regions, projections, random
        )
        found.append((energies * of_batch.asked(regions)).cpu())
    return torch.cat(found)


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
    given: Given | None = None,
) -> Tensor:
    """Return the share of cells that another draw of noise at `t` reads differently: (N,).

    Cells that are `given` stay clean.
    """
    shares: list[Tensor] = []
    of_batch = Levels(t, given)
    for index, batch in enumerate(batches(images.to(denoiser.device), common.batch_size)):
        random = generator(common.seed, "detectors/re-noising", index, denoiser.device)
        level = torch.full((len(batch),), t, device=denoiser.device)
        levels = of_batch.next(batch)
        words, _ = dataset.read(batch)
        changed = in_double(torch.zeros_like(words))
        for _ in range(renoisings):
            noisy = of_batch.onto(denoiser.noise(batch, level, random))
            again, _ = dataset.read(denoiser(noisy, levels))
            changed += in_double(again != words)
        shares.append(changed.mean(1) / renoisings)
    return torch.cat(shares)


def log_odds_of_invalid(
    bayes: Denoiser, dataset: SymbolImages, x_t: Tensor, t: int, given: Given | None = None
) -> Tensor:
    """Return the log odds that cells read one by one spell an invalid word: (N,), in nats.

    Args:
        bayes: Lends its noise levels, which may be by cell.
        dataset: Grammar and glyphs.
        x_t: (N, C, H, W), what is given clean.
        t: The noise level of the other cells.
        given: What is.
    """
    x_t = in_double(x_t)
    levels = bayes.schedule.values(Levels(t, given).next(x_t), torch.float64)
    grammar = dataset.grammar
    evidence = dataset.evidence(x_t, *levels)
    posterior = (evidence + grammar.symbol_marginals().to(evidence).log()).log_softmax(-1)
    log_valid = torch.cat([grammar.log_partition(rows) for rows in grammar.chunks(posterior)])
    # Rounding would order the samples that are valid for certain.
    log_valid = log_valid.clamp(max=-1e-12)
    odds: Tensor = (-log_valid.expm1()).log() - log_valid
    return odds


class Levels:
    """The noise levels of one batch of samples after another, cells that are given clean."""

    def __init__(self, t: int, given: Given | None) -> None:
        self.t, self.given = t, given
        self.done = 0
        self._part: Given | None = None

    def next(self, batch: Tensor) -> Tensor:
        """Return the levels of the next batch (B, C, H, W): (B,), or (B, cells) with given ones."""
        levels = torch.full((len(batch),), self.t, device=batch.device)
        places = torch.arange(self.done, self.done + len(batch))
        self.done += len(batch)
        if self.given is None:
            return levels
        self._part = self.given.part(places, batch.device)
        return self._part.levels(levels)

    def onto(self, images: Tensor) -> Tensor:
        """Lay what is given over images of the batch that was last."""
        return images if self._part is None else self._part.onto(images)

    def asked(self, regions: Regions) -> Tensor | float:
        """Return 0 for regions given as a whole in the last batch, 1 for others: (B, 1, R, 1)."""
        if self._part is None:
            return 1.0
        mask = self._part.mask[:, None]
        free = (regions.masks.to(mask.device) & ~mask).flatten(2).any(2)
        return in_double(free)[:, None, :, None]
