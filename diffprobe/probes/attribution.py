"""Attribution maps of one cell's output over the noisy image, by captum.

Integrated gradients of F(x) = sum over the cell's pixels of x0_hat(x), along the straight path
from a baseline b to x_t:

    A_q = (x_q - b_q) ∫_0^1 dF/dx_q (b + s (x - b)) ds,      sum_q A_q = F(x_t) - F(b)

The convergence delta is the error of that sum.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from diffprobe.atomic import atomic_file
from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.noise_levels import noisy_inputs
from diffprobe.probes.regions import cell_regions
from diffprobe.records import estimate, write_record


@dataclass(frozen=True)
class Attribution:
    """Integrated gradients of one cell for N images.

    Attributes:
        maps: (N, 1, H, W), attribution of each input pixel, in units of the output.
        x_t: (N, 1, H, W), the noisy images.
        x0_hat: (N, 1, H, W), the denoiser's output.
        delta: (N,) convergence delta: sum of the map minus F(x_t) - F(baseline).
        local_share: (N,) share of |map| inside the cell itself.
        cell: Index of the cell.
        cell_box: Row, column, height and width of the cell in pixels.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Method, baseline, steps, seed.
    """

    maps: Tensor
    x_t: Tensor
    x0_hat: Tensor
    delta: Tensor
    local_share: Tensor
    cell: int
    cell_box: tuple[int, int, int, int]
    t: int
    log_snr: float
    settings: dict[str, Any]

    @property
    def mean_local_share(self) -> tuple[float, float]:
        """Share of |map| inside the cell itself, mean over images and its standard error."""
        share = self.local_share
        return share.mean().item(), (share.std() / len(share) ** 0.5).item()


def measure(
    denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig | None = None, *, t: int
) -> Attribution:
    """Attribute one cell's output to the pixels of the noisy image, from a baseline of zeros.

    Args:
        denoiser: A network or an oracle.
        dataset: Where the inputs come from, and whose cell is the region.
        config: `attribution_cell`, `attribution_steps`, `images`, `batch_size`, `seed`.
        t: Noise level.

    Raises:
        UsageError: If there is no such cell.
    """
    config = config or ProbeConfig()
    cell, length = config.attribution_cell, dataset.grammar.length
    if not 0 <= cell < length:
        raise UsageError(f"probe.attribution_cell={cell} is outside 0 … {length - 1}")
    if config.images < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {config.images}")
    _, x_t = noisy_inputs(denoiser, dataset, config.images, t, config.seed)
    region = cell_regions(dataset)[cell].to(x_t)

    def region_sum(x: Tensor) -> Tensor:
        level = torch.full((len(x),), t, device=x.device)
        total: Tensor = (denoiser(x, level) * region).sum((1, 2, 3))
        return total

    maps, delta = IntegratedGradients(region_sum).attribute(
        x_t,
        baselines=torch.zeros_like(x_t),
        n_steps=config.attribution_steps,
        internal_batch_size=max(config.batch_size, len(x_t)),
        return_convergence_delta=True,
    )
    magnitude = maps.detach().abs()
    with torch.no_grad():
        x0_hat = denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device))
    row, column = divmod(cell, dataset.grid[1])
    height, width = dataset.glyphs.cell
    return Attribution(
        maps=maps.detach().float().cpu(),
        x_t=x_t.cpu(),
        x0_hat=x0_hat.cpu(),
        delta=delta.detach().cpu(),
        local_share=((magnitude * region).sum((1, 2, 3)) / magnitude.sum((1, 2, 3))).cpu(),
        cell=cell,
        cell_box=(row * height, column * width, height, width),
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "method": "integrated gradients",
            "baseline": "zeros",
            "steps": config.attribution_steps,
            "images": config.images,
            "seed": config.seed,
        },
    )


def write(result: Attribution, path: Path) -> None:
    """Store the images as `path`.npz and the rest of the numbers as `path`.json."""
    images = {name: getattr(result, name).numpy() for name in ("maps", "x_t", "x0_hat")}
    with atomic_file(path.with_name(f"{path.name}.npz")) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **images)
    numbers = {k: v for k, v in result.__dict__.items() if k not in images}
    share = estimate(*result.mean_local_share)
    write_record(path.with_name(f"{path.name}.json"), {**numbers, "mean_local_share": share})


def plot(result: Attribution, ax: Axes, index: int = 0) -> Axes:
    """Draw the map of one image over the noisy image, the cell outlined."""
    ax.imshow(result.x_t[index, 0].numpy(), cmap="gray")
    limit = result.maps[index].abs().max().item() or 1.0
    # Where nothing is attributed the noisy image shows through.
    opacity = (result.maps[index, 0].abs() / limit).clamp(0, 1).sqrt()
    image = ax.imshow(
        result.maps[index, 0].numpy(),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        alpha=opacity.numpy(),
    )
    row, column, height, width = result.cell_box
    ax.add_patch(
        Rectangle((column - 0.5, row - 0.5), width, height, fill=False, edgecolor="lime", lw=1.5)
    )
    ax.set(
        xticks=[],
        yticks=[],
        title=f"integrated gradients of cell {result.cell}, log-SNR {result.log_snr:.1f}",
    )
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=ax, label="attribution", fraction=0.046)
        bar.solids.set(alpha=1)  # type: ignore[union-attr]
    return ax
