"""Sensitivity maps: how strongly one region's output depends on every input pixel.

S[q] = E sum over p in the region of (∂x0_hat_p / ∂x_t,q)²,   summed over channels of q
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.errors import UsageError
from diffprobe.figures import LABELS, figure
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import batches, pixel_energies
from diffprobe.probes.noise_levels import noisy_inputs
from diffprobe.probes.output_space import in_space
from diffprobe.probes.ratio import standard_error
from diffprobe.probes.regions import Box, Regions, default_regions
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, interval
from diffprobe.seeding import generator

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = ("images", "projections", "output", "region", "batch_size", "seed")


@dataclass(frozen=True)
class Sensitivity:
    """The map of one region.

    Attributes:
        map: (H, W) float64, squared derivatives summed over the region and the input's channels,
            mean over inputs.
        map_error: (H, W) its standard error.
        local_share: Share of the map inside the region: the region's own LDR.
        local_share_error: Its standard error.
        region: Index of the region.
        box: Where it is, if it is a box.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs, projections (0 is exact), output, seed.
    """

    map: Tensor
    map_error: Tensor
    local_share: float
    local_share_error: float
    region: int
    box: Box | None
    t: int
    log_snr: float
    settings: dict[str, Any]


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
    regions = regions or default_regions(images)
    region = regions.masks[regions.index(config.region, "probe.region")]
    x_t = noisy_inputs(denoiser, images, config.images, t, config.seed)
    asked = in_space(denoiser, config.output)
    found = []
    for index, batch in enumerate(progress(list(batches(x_t, config.batch_size)), desc="map")):
        random = generator(config.seed, f"sensitivity/{t}", index)
        found.append(pixel_energies(asked, batch, t, region, config.projections, random).cpu())
    energies = torch.cat(found)
    n = len(energies)
    inside, everything = (energies * region).sum((1, 2, 3)), energies.sum((1, 2, 3))
    share = inside.sum() / everything.sum()
    influence = (inside - share * everything) / everything.mean()
    by_pixel = energies.sum(1)
    return Sensitivity(
        map=by_pixel.mean(0),
        map_error=by_pixel.std(0) / n**0.5,
        local_share=share.item(),
        local_share_error=standard_error(influence).item(),
        region=config.region,
        box=regions.boxes[config.region],
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": n,
            "projections": config.projections,
            "output": config.output,
            "seed": config.seed,
        },
    )


def plot(result: Sensitivity, ax: Axes, *, largest: float | None = None) -> Axes:
    """Draw the map on a logarithmic scale of four decades, the region outlined.

    Args:
        largest: Upper end of the scale, to share it between maps.
    """
    top = largest or result.map.max().item() or 1.0
    ax.imshow(result.map.clamp(min=top * 1e-4).numpy(), cmap="magma", norm=LogNorm(top * 1e-4, top))
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


def probe(subject: "Subject", keep: "Keep") -> dict[str, Sensitivity]:
    """Measure the maps of the network and of the optima at the subject's level."""
    return subject.measure_each(
        keep, Sensitivity, measure, "bayes", "product", regions=subject.regions
    )


def draw(results: dict[str, Sensitivity], subject: "Subject", folder: Path) -> None:
    """The maps on one scale."""
    _, height, width = subject.images.image_shape
    rows, columns = (len(results), 1) if width > 2 * height else (1, len(results))
    inches = min(8.0, 6.0 / columns * rows * height / width + 0.45 * rows)
    largest = max(r.map.max().item() for r in results.values())
    with figure(folder / "sensitivity", 7.0, inches) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for ax, (name, result) in zip(axes, results.items(), strict=True):
            plot(result, ax, largest=largest)
            ax.set_title(
                f"{LABELS.get(name, subject.architecture)}\n{result.local_share:.0%} "
                f"inside {subject.regions.names[result.region]}"
            )
        canvas.colorbar(axes[0].images[0], ax=axes, label="Σ (∂x0_hat/∂x_t)²", fraction=0.05)


def summary(results: dict[str, Sensitivity]) -> dict[str, Any]:
    """Return the share of each map inside its region."""
    first = next(iter(results.values()))
    return {
        "t": first.t,
        "log_snr": first.log_snr,
        "region": first.region,
        "images": first.settings["images"],
        "local_share": {
            name: estimate(r.local_share, r.local_share_error) for name, r in results.items()
        },
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    shares = ", ".join(f"{who} {interval(e)}" for who, e in content["local_share"].items())
    return [f"sensitivity of region {content['region']}: share inside {shares}"]
