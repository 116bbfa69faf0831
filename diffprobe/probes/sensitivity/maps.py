"""Sensitivity maps: how strongly one region's output depends on every input pixel.

S[q] = E [ s_q / sum of s ],   s_q = sum over p in the region of (∂x0_hat_p / ∂x_t,q)²

of one input, summed over the channels of q: each input's map adds up to one, so that all count
alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.sensitivity import SensitivityConfig
from diffprobe.probing.jacobian import batches, pixel_energies
from diffprobe.probing.noise_levels import check_images, input_sources, noisy_inputs
from diffprobe.probing.output_space import in_space
from diffprobe.probing.ratio import NO_DEPENDENCE, jackknife, share_among
from diffprobe.probing.region_spec import Box
from diffprobe.probing.regions import Regions, default_regions


@dataclass(frozen=True, repr=False)
class Sensitivity(Measurement):
    """The map of one region.

    Attributes:
        map: (H, W) share of the squared derivatives at each pixel, mean over inputs.
        ratios: (N,) share of each input's map inside the region; NaN where it depends on nothing.
        sources: (N,) long, the picture that each input was made from.
        local_share: () their mean: the region's own LDR.
        region: Index of the region.
        box: Where it is, if it is a box.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs, projections (0 is exact), output, seed.
    """

    map: Interval
    ratios: Tensor
    sources: Tensor
    local_share: Interval
    region: int
    box: Box | None
    t: int
    log_snr: float
    settings: dict[str, Any]

    def among(self, told: Tensor) -> "Sensitivity":
        """Return the same with the local share over those inputs alone that are `told (N,)`."""
        ratios, share = share_among(self.ratios, self.sources, told)
        return replace(self, ratios=ratios, local_share=share)


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: SensitivityConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    t: int,
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Sensitivity:
    """Measure how one region's output depends on every input pixel.

    Args:
        denoiser: A network or an oracle.
        images: Where the inputs come from.
        settings: `projections`.
        common: `region` says which one; `images`, `output`, `batch_size`, `seed`.
        t: Noise level.
        regions: The cells of a dataset by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such region, or a number is out of range.
    """
    settings, common = settings or SensitivityConfig(), common or ProbeConfig()
    check_images(common.images)
    regions = regions or default_regions(images)
    region = regions.masks[regions.index(common.region, "probe.region")]
    x_t = noisy_inputs(denoiser, images, common.images, t, common.seed)
    asked = in_space(denoiser, common.output)
    found = []
    for index, batch in enumerate(progress(list(batches(x_t, common.batch_size)), desc="map")):
        random = generator(common.seed, f"sensitivity/{t}", index)
        energies = pixel_energies(asked, batch, t, region, settings.projections, random).cpu()
        found.append(_shares(energies))
    shares = torch.cat(found)  # (N, C, H, W)
    ratios = (shares * region).sum((1, 2, 3))
    sources = input_sources(images, common.images, common.seed)
    return Sensitivity(
        map=intervals.mean(shares.sum(1).movedim(0, -1), sources, resolution=RESOLUTION),
        ratios=ratios,
        sources=sources,
        local_share=intervals.mean(ratios, sources, resolution=RESOLUTION),
        region=common.region,
        box=regions.boxes[common.region],
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": common.images,
            "projections": settings.projections,
            "output": common.output,
            "seed": common.seed,
        },
    )


def _shares(energies: Tensor) -> Tensor:
    """Each pixel's share of its input's whole, (N, C, H, W) from (N, P, C, H, W)."""
    whole = energies.mean(1).sum((1, 2, 3))
    shares = jackknife(lambda e: e / e.sum((1, 2, 3), keepdim=True), energies)
    return shares.where((whole > NO_DEPENDENCE)[:, None, None, None], math.nan)


def beside_the_optimum(results: Mapping[str, Sensitivity]) -> dict[str, Sensitivity]:
    """Return the measurements with shares over the inputs at which Bayes depends on anything."""
    if "bayes" not in results:
        return dict(results)
    told = results["bayes"].ratios.isfinite()
    return {name: result.among(told) for name, result in results.items()}
