"""Interventional dependence: change cell j of the input, see what changes in cell i of the output.

    noise    x_t' has other noise in region j:                  eps_j drawn again
    symbol   x_t' shows another symbol in cell j:               alpha (g' - g) added there
    I_ij = ‖(x0_hat(x_t') - x0_hat(x_t))_i‖²

No gradient is taken, so it catches what a local derivative cannot. Where the denoiser is linear
over the size of the change,

    I_ij = ‖J_ij d_j‖²,   d_j = x_t' - x_t in region j,

which is 2 sigma² ‖J_ij‖_F² on average for redrawn noise: the Jacobian's picture. Where the regions
do not tile the image the rest of it is changed too, and may answer. As with the LDR, shares are
taken for each input and then averaged.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.intervention import InterventionConfig
from diffprobe.probing.noise_levels import check_level, clean_inputs, input_sources
from diffprobe.probing.ratio import energy_shares, local_dependency_ratios, share_among
from diffprobe.probing.regions import Regions, default_regions


@dataclass(frozen=True, repr=False)
class Intervention(Measurement):
    """What an intervention in each part of the input changes in each part of the output.

    The S parts are the regions and, where these do not tile the image, the rest.

    Attributes:
        matrix: (S, S) float64, mean squared change of output part i (row) when input part j
            (column) is changed.
        shares: (S, S) share of it in each input's whole, mean over inputs.
        ratios: (N,) share of the changes of the regions that is made in the same region, of each
            input; NaN for one at which nothing changes.
        sources: (N,) long, the picture that each input was made from.
        local_share: () their mean: 1 for a local denoiser.
        kind: "noise" or "symbol".
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs and seed.
    """

    matrix: Tensor
    shares: Interval
    ratios: Tensor
    sources: Tensor
    local_share: Interval
    kind: str
    t: int
    log_snr: float
    settings: dict[str, Any]

    def among(self, told: Tensor) -> "Intervention":
        """Return the same with the local share over those inputs alone that are `told (N,)`."""
        ratios, share = share_among(self.ratios, self.sources, told)
        return replace(self, ratios=ratios, local_share=share)


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: InterventionConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    t: int,
    kind: Literal["noise", "symbol"] = "noise",
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Intervention:
    """Change each region of noisy images in turn and measure the change of the output.

    Args:
        denoiser: A network or an oracle; no gradient is needed.
        images: Where the inputs come from.
        settings: `images`.
        common: `batch_size`, `seed`.
        t: Noise level.
        kind: Redraw the noise in a region, or the symbol in a cell (datasets only: the word is then
            seldom a valid one, and the noise stays).
        regions: The cells of a dataset by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If symbols are asked for without a dataset, or there is no such level.
    """
    settings, common = settings or InterventionConfig(), common or ProbeConfig()
    regions = regions or default_regions(images)
    n = settings.images
    energies = changes(
        denoiser, images, n, common, t=t, kind=kind, regions=regions, progress=progress
    )
    sources = input_sources(images, n, common.seed)
    # Nothing is estimated by projections here.
    ratios = local_dependency_ratios(energies[:, None, : len(regions)])
    by_input = energy_shares(energies[:, None])
    return Intervention(
        matrix=energies.mean(0),
        shares=intervals.mean(by_input.movedim(0, -1), sources, resolution=RESOLUTION),
        ratios=ratios,
        sources=sources,
        local_share=intervals.mean(ratios, sources, resolution=RESOLUTION),
        kind=kind,
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={"images": n, "seed": common.seed},
    )


@torch.no_grad()
def changes(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    n: int,
    common: ProbeConfig,
    *,
    t: int,
    kind: Literal["noise", "symbol"],
    regions: Regions,
    progress: Progress = silent,
) -> Tensor:
    """Return how much each part of the output changes when each part of the input is changed.

    Args:
        n: Noisy images.
        denoiser, images, common, t, kind, regions, progress: As for `measure`.

    Returns:
        (N, S, S) float64, squared changes of output part i (row) by input part j (column).
    """
    check_level(denoiser, t)
    masks = regions.parts.to(denoiser.device)
    x_0, eps = clean_inputs(images, n, common.seed)
    random = generator(common.seed, f"intervention/{kind}")
    if kind == "symbol":
        other = _other_symbols(images, n, common.seed, random)
        changed = (other - x_0).to(denoiser.device)
    else:
        changed = (torch.randn(eps.shape, generator=random) - eps).to(denoiser.device)
    x_0, eps = x_0.to(denoiser.device), eps.to(denoiser.device)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
    x_t = alpha * x_0 + sigma * eps
    change = changed * (alpha if kind == "symbol" else sigma)
    energies = torch.empty(n, len(masks), len(masks), dtype=torch.float64)
    flat = in_double(masks.flatten(1))
    rows = list(torch.arange(n).split(common.batch_size))
    for row in progress(rows, desc=f"intervention, {kind}", unit="batch"):
        level = torch.full((len(row),), t, device=denoiser.device)
        before = denoiser(x_t[row], level)
        for j, mask in enumerate(masks):
            after = denoiser(x_t[row] + change[row] * mask, level)
            squares = in_double(after - before).square().flatten(1)
            energies[row, :, j] = (squares @ flat.T).cpu()
    return energies


def _other_symbols(
    images: SymbolImages | ImageSet, n: int, seed: int, random: torch.Generator
) -> Tensor:
    """Return the images of `clean_inputs` with every symbol replaced by another one."""
    if not isinstance(images, SymbolImages):
        raise UsageError("symbols can be redrawn only where a dataset says what they are")
    words = images.grammar.sample(n, generator(seed, "probe"))  # those of `clean_inputs`
    symbols = images.grammar.symbols
    if symbols < 2:
        raise UsageError("with one symbol there is no other to draw")
    shift = torch.randint(1, symbols, words.shape, generator=random)
    return images.draw((words + shift) % symbols, random)
