"""Sensitivity maps: how strongly one region's output depends on every input pixel.

S[q] = E [ s_q / sum of s ],   s_q = sum over p in the region of (∂x0_hat_p / ∂x_t,q)²

of one input, summed over the channels of q: each input's map adds up to one, so that all count
alike.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import LABELS, figure
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import batches, pixel_energies
from diffprobe.probes.noise_levels import input_sources, noisy_inputs
from diffprobe.probes.output_space import in_space
from diffprobe.probes.ratio import NO_DEPENDENCE, jackknife
from diffprobe.probes.regions import Box, Regions, default_regions

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = ("images", "projections", "output", "region", "batch_size", "seed")


@dataclass(frozen=True)
class Sensitivity:
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
        ratios = self.ratios.where(told, math.nan)
        share = intervals.mean(ratios, self.sources, resolution=RESOLUTION)
        return replace(self, ratios=ratios, local_share=share)


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig | None = None,
    *,
    t: int,
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Sensitivity:
    """Measure how one region's output depends on every input pixel.

    Args:
        denoiser: A network or an oracle.
        images: Where the inputs come from.
        config: `region` says which one; `images`, `projections`, `output`, `batch_size`, `seed`.
        t: Noise level.
        regions: The cells of a dataset by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such region, or a number is out of range.
    """
    config = config or ProbeConfig()
    if config.images < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {config.images}")
    if config.projections == 1:
        raise UsageError("probe.projections must be at least 2, or 0 for the exact Jacobian")
    regions = regions or default_regions(images)
    region = regions.masks[regions.index(config.region, "probe.region")]
    x_t = noisy_inputs(denoiser, images, config.images, t, config.seed)
    asked = in_space(denoiser, config.output)
    found = []
    for index, batch in enumerate(progress(list(batches(x_t, config.batch_size)), desc="map")):
        random = generator(config.seed, f"sensitivity/{t}", index)
        energies = pixel_energies(asked, batch, t, region, config.projections, random).cpu()
        found.append(_shares(energies))
    shares = torch.cat(found)  # (N, C, H, W)
    ratios = (shares * region).sum((1, 2, 3))
    sources = input_sources(images, config.images, config.seed)
    return Sensitivity(
        map=intervals.mean(shares.sum(1).movedim(0, -1), sources, resolution=RESOLUTION),
        ratios=ratios,
        sources=sources,
        local_share=intervals.mean(ratios, sources, resolution=RESOLUTION),
        region=config.region,
        box=regions.boxes[config.region],
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": config.images,
            "projections": config.projections,
            "output": config.output,
            "seed": config.seed,
        },
    )


def _shares(energies: Tensor) -> Tensor:
    """Each pixel's share of its input's whole, (N, C, H, W) from (N, P, C, H, W)."""
    whole = energies.mean(1).sum((1, 2, 3))
    shares = jackknife(lambda e: e / e.sum((1, 2, 3), keepdim=True), energies)
    return shares.where((whole > NO_DEPENDENCE)[:, None, None, None], math.nan)


def plot(result: Sensitivity, ax: Axes, *, largest: float | None = None) -> Axes:
    """Draw the map on a logarithmic scale of four decades, the region outlined.

    Args:
        largest: Upper end of the scale, to share it between maps.
    """
    top = largest or _top(result)
    ax.imshow(
        result.map.value.clamp(min=top * 1e-4).numpy(), cmap="magma", norm=LogNorm(top * 1e-4, top)
    )
    if result.box is not None:
        row, column, height, width = result.box
        ax.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), width, height, fill=False, edgecolor="lime", lw=1.5
            )
        )
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], title=f"region {result.region}, log-SNR {result.log_snr:.1f}")
    return ax


def _top(result: Sensitivity) -> float:
    return result.map.value.nan_to_num().max().item() or 1.0


def probe(subject: "Subject", keep: "Keep") -> dict[str, Sensitivity]:
    """Measure the maps of the network and of the optima at the subject's level."""
    return subject.measure_each(
        keep, Sensitivity, measure, "bayes", "product", regions=subject.regions
    )


def beside_the_optimum(results: dict[str, Sensitivity]) -> dict[str, Sensitivity]:
    """Return the measurements with shares over the inputs at which Bayes depends on anything."""
    if "bayes" not in results:
        return results
    told = results["bayes"].ratios.isfinite()
    return {name: result.among(told) for name, result in results.items()}


def draw(results: dict[str, Sensitivity], subject: "Subject", folder: Path) -> None:
    """The maps on one scale."""
    results = beside_the_optimum(results)
    _, height, width = subject.images.image_shape
    rows, columns = (len(results), 1) if width > 2 * height else (1, len(results))
    inches = min(8.0, 6.0 / columns * rows * height / width + 0.45 * rows)
    largest = max(_top(r) for r in results.values())
    with figure(folder / "sensitivity", 7.0, inches) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for ax, (name, result) in zip(axes, results.items(), strict=True):
            plot(result, ax, largest=largest)
            ax.set_title(
                f"{LABELS.get(name, subject.architecture)}\n{result.local_share.value.item():.0%} "
                f"inside {subject.regions.names[result.region]}"
            )
        canvas.colorbar(
            axes[0].images[0], ax=axes, label="share of Σ (∂x0_hat/∂x_t)²", fraction=0.05
        )


def summary(results: dict[str, Sensitivity]) -> dict[str, Any]:
    """Return the share of each map inside its region."""
    results = beside_the_optimum(results)
    first = next(iter(results.values()))
    return {
        "t": first.t,
        "log_snr": first.log_snr,
        "region": first.region,
        "images": first.settings["images"],
        "local_share": {name: estimate(r.local_share) for name, r in results.items()},
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    shares = ", ".join(f"{who} {interval(e)}" for who, e in content["local_share"].items())
    return [f"sensitivity of region {content['region']}: share inside {shares}"]
