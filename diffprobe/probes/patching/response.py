"""How a denoiser as a whole answers the change of one cell, beside the exact posterior.

    reach    E‖D in other cells‖ / E‖D‖      how much of its answer lies elsewhere
    along    E[D · B / ‖B‖] / E‖B‖           how far it goes the way of the Bayes optimum's

with D the change of x0_hat between two words that differ in one cell, and B that of E[x_0 | x_t].
For the Bayes optimum itself `along` is 1; its reach says how much there is to carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.probes.patching.effects import NO_CHANGE, by_place, pixels_of, share_of_way
from diffprobe.probes.patching.pairs import Pairs
from diffprobe.probing.regions import Regions


@dataclass(frozen=True, repr=False)
class Response(Measurement):
    """A denoiser's answer at T noise levels.

    Attributes:
        t: (T,) long.
        log_snr: (T,).
        reach: (T,) share of its change in other cells; NaN where nothing changes.
        along: (P, T) by place (whole, own, others); NaN where the optimum's change is nothing, or
            no optimum is known.
    """

    t: Tensor
    log_snr: Tensor
    reach: Interval
    along: Interval


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    pairs: Pairs,
    levels: Sequence[int],
    common: ProbeConfig | None = None,
    *,
    regions: Regions,
    bayes: Denoiser | None = None,
) -> Response:
    """Measure how a denoiser answers the change of a cell.

    Args:
        denoiser: A network or an oracle.
        pairs: Inputs.
        levels: T timesteps.
        common: `batch_size`.
        regions: R regions of the images.
        bayes: The exact posterior mean, where it is known.
    """
    common = common or ProbeConfig()
    size = inputs_at_once(denoiser, pairs.image_shape, common.batch_size)
    reach, along = [], []
    pixels = pixels_of(pairs, regions)
    for t in levels:
        parts = [
            _products(denoiser, bayes, pairs, t, rows, regions)
            for rows in torch.arange(len(pairs)).split(size)
        ]
        own, moved, way = by_place(torch.cat(parts, 1), pairs.cell).movedim(1, 0)
        length = own.sqrt()
        found = intervals.ratio(length[2], length[0], pairs.sources, resolution=RESOLUTION)
        reach.append(found.where(length[0].mean() / pixels[0].sqrt() >= NO_CHANGE))
        along.append(share_of_way(moved, way, pairs.sources, pixels))
    stacked = intervals.stacked(along)
    return Response(
        t=torch.tensor(list(levels)),
        log_snr=denoiser.log_snr(torch.tensor(list(levels))).cpu(),
        reach=intervals.stacked(reach),
        along=Interval(**{name: value.movedim(0, -1) for name, value in vars(stacked).items()}),
    )


def _products(
    denoiser: Denoiser,
    bayes: Denoiser | None,
    pairs: Pairs,
    t: int,
    rows: Tensor,
    regions: Regions,
) -> Tensor:
    """D · D, D · B and B · B by part of the output: (3, B, S); the latter 0 without an optimum."""
    x, y = pairs.at(denoiser, t, rows)
    level = torch.full((len(rows),), t, device=x.device)
    change = in_double(denoiser(y, level) - denoiser(x, level))
    exact = (
        torch.zeros_like(change) if bayes is None else in_double(bayes(y, level) - bayes(x, level))
    )
    products = torch.stack([change.square(), change * exact, exact.square()]).flatten(2)
    return (products @ regions.parts.flatten(1).to(products).T).cpu()
