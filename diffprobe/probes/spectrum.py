"""Spectra of the Jacobian without the matrix: what a denoiser amplifies, and how symmetrically.

    J = sum_k s_k u_k v_kᵀ      u_k what comes out when v_k goes in, s_k times stronger

The k largest singular values and vectors come from subspace iteration on Jᵀ J (Halko, Martinsson
& Tropp, arXiv:0909.4061, algorithm 4.4), for all inputs at once, from products with J and Jᵀ alone.
The optimum's Jacobian is (alpha/sigma²) Cov[x_0 | x_t], symmetric and positive, so for a network

    asymmetry        ‖(J - Jᵀ)/2‖_F² / ‖J‖_F²           0 symmetric, 1 antisymmetric
    effective rank   ‖J‖_F⁴ / ‖J Jᵀ‖_F²                 the participation ratio of the s_k²

are both told from random vectors v: ‖J‖_F² = E‖Jᵀ v‖², ‖J Jᵀ‖_F² = E‖J Jᵀ v‖² and their
ratios from the jackknife over the vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, LABELS, figure
from diffprobe.foundations.intervals import RESOLUTION, Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.jacobian import Linearisation, rademacher
from diffprobe.probes.noise_levels import input_sources, noisy_inputs
from diffprobe.probes.ratio import jackknife

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "spectrum_images",
    "spectrum_values",
    "spectrum_iterations",
    "spectrum_projections",
    "seed",
)

OVERSAMPLING = 4  # more vectors than asked for, so that the last ones converge too


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of the Jacobian at N inputs of one noise level.

    Attributes:
        values: (N, K) float64, largest first.
        value_residual: (N, K) ‖Jᵀ u_k - s_k v_k‖, what a value may be off by at the most.
        inputs: (N, K, C, H, W) right singular vectors v_k, of unit length.
        outputs: (N, K, C, H, W) left singular vectors u_k.
        x_t: (N, C, H, W), the noisy images.
        energy: (N,) ‖J‖_F², estimated.
        asymmetry: (N,) between 0 and 1, estimated.
        effective_rank: (N,) estimated.
        sources: (N,) long, the picture that each input was made from.
        t: Noise level.
        log_snr: The same as log(alpha²/sigma²).
        settings: Inputs, iterations, projections, seed.
    """

    values: Tensor
    value_residual: Tensor
    inputs: Tensor
    outputs: Tensor
    x_t: Tensor
    energy: Tensor
    asymmetry: Tensor
    effective_rank: Tensor
    sources: Tensor
    t: int
    log_snr: float
    settings: dict[str, Any]

    @property
    def largest(self) -> Tensor:
        """(N,) the largest singular value of each input."""
        return self.values[:, 0]

    def mean(self, name: str) -> Interval:
        """Return the mean over inputs of an attribute (N,): ()."""
        return intervals.mean(getattr(self, name), self.sources, resolution=RESOLUTION)


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    config: ProbeConfig | None = None,
    *,
    t: int,
    progress: Progress = silent,
) -> Spectrum:
    """Measure the top of the Jacobian's spectrum, its asymmetry and its effective rank.

    Args:
        denoiser: A network or an oracle, twice differentiable.
        images: Where the inputs come from.
        config: `spectrum_images`, `spectrum_values`, `spectrum_iterations`,
            `spectrum_projections`, `seed`.
        t: Noise level.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a number is out of range.
    """
    config = config or ProbeConfig()
    n, k = config.spectrum_images, config.spectrum_values
    for name in ("spectrum_images", "spectrum_projections"):
        if getattr(config, name) < 2:
            raise UsageError(f"probe.{name} must be at least 2 for an error")
    x_t = noisy_inputs(denoiser, images, n, t, config.seed)
    pixels = x_t[0].numel()
    if not 1 <= k <= pixels:
        raise UsageError(f"probe.spectrum_values must lie in 1 … {pixels}, not {k}")
    line = Linearisation(denoiser, x_t, t, twice=True)
    random = generator(config.seed, "spectrum")
    width = min(k + OVERSAMPLING, pixels)
    block = torch.randn(n, pixels, width, generator=random).to(x_t)
    for _ in progress(range(config.spectrum_iterations), desc="spectrum", unit="iteration"):
        left = _orthonormal(_on_columns(line.push_forward, block, x_t))
        block = _orthonormal(_on_columns(line.pull_back, left, x_t))
    # Within the subspace the decomposition is exact: J V = U S Wᵀ.
    image = _on_columns(line.push_forward, block, x_t)
    left, values, turn = torch.linalg.svd(image.double(), full_matrices=False)
    right = block.double() @ turn.mT
    back = _on_columns(line.pull_back, left.to(x_t), x_t).double()
    residual = (back - values[:, None] * right).norm(dim=1)
    moments = _moments(line, config.spectrum_projections, random)
    return Spectrum(
        values=values[:, :k].cpu(),
        value_residual=residual[:, :k].cpu(),
        inputs=_as_images(right[..., :k], x_t),
        outputs=_as_images(left[..., :k], x_t),
        x_t=x_t.cpu(),
        energy=moments[..., 0].mean(1).cpu(),
        asymmetry=jackknife(lambda m: m[..., 1] / m[..., 0], moments).cpu(),
        effective_rank=jackknife(lambda m: m[..., 0].square() / m[..., 2], moments).cpu(),
        sources=input_sources(images, n, config.seed),
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": n,
            "iterations": config.spectrum_iterations,
            "projections": config.spectrum_projections,
            "seed": config.seed,
        },
    )


def _on_columns(product: Callable[[Tensor], Tensor], block: Tensor, x_t: Tensor) -> Tensor:
    """Apply a product of the engine to each column of `block (N, pixels, K)`."""
    columns = [product(column.reshape(x_t.shape)).flatten(1) for column in block.unbind(-1)]
    return torch.stack(columns, -1)


def _orthonormal(block: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(block.double()).Q
    return basis.to(block)


def _moments(line: Linearisation, projections: int, random: torch.Generator) -> Tensor:
    """Estimate ‖J‖_F², ‖(J - Jᵀ)/2‖_F² and ‖J Jᵀ‖_F² from each vector: (N, P, 3) float64."""
    sums = []
    for _ in range(projections):
        v = rademacher(line.output, random)
        back, forth = line.pull_back(v), line.push_forward(v)
        again = line.push_forward(back)
        sums.append(
            torch.stack(
                [x.flatten(1).double().square().sum(1) for x in (back, (forth - back) / 2, again)],
                -1,
            )
        )
    return torch.stack(sums, 1)


def _as_images(vectors: Tensor, x_t: Tensor) -> Tensor:
    _, channels, height, _ = x_t.shape
    return rearrange(vectors, "n (c h w) k -> n k c h w", c=channels, h=height).float().cpu()


def plot(result: Spectrum, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw the singular values, mean over inputs with a band from the least to the greatest."""
    rank = torch.arange(1, result.values.shape[1] + 1).numpy()
    (line,) = ax.plot(
        rank, result.values.mean(0).numpy(), marker="o", markersize=3, label=label, **style
    )
    low, high = result.values.amin(0).numpy(), result.values.amax(0).numpy()
    ax.fill_between(rank, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(
        xlabel="rank",
        ylabel="singular value of ∂x0_hat/∂x_t",
        ylim=(0, None),
        title=f"log-SNR {result.log_snr:.1f}",
    )
    return ax


def probe(subject: "Subject", keep: "Keep") -> dict[str, Spectrum]:
    """Measure the spectra of the network and of the optima at the subject's level."""
    return subject.measure_each(keep, Spectrum, measure, "bayes", "product")


def draw(results: dict[str, Spectrum], subject: "Subject", folder: Path) -> None:
    """Singular values of all, and the leading vectors of one input as pictures."""
    with figure(folder / "spectrum", 5.0, 3.2) as canvas:
        ax = canvas.subplots()
        for name, result in results.items():
            plot(
                result,
                ax,
                label=LABELS.get(name, subject.architecture),
                color=COLORS[subject.architecture if name == "network" else name],
            )
        ax.legend()
    _draw_vectors(results, subject, folder)


def _draw_vectors(results: dict[str, Spectrum], subject: "Subject", folder: Path) -> None:
    """The leading vectors of the input on which most is still undecided."""
    undecided = results.get("bayes", results["network"])
    index = int(undecided.energy.argmax())
    _, k, _, height, width = results["network"].inputs.shape
    wide = width > 2 * height
    shown = min(2 if wide else 4, k)
    rows, columns = (2 * shown, len(results)) if wide else (2 * len(results), shown)
    inches = min(9.0, 7.0 / columns * rows * height / width + 0.3 * rows)
    with figure(folder / "spectrum-vectors", 7.0, inches) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False)
        for place, (name, result) in enumerate(results.items()):
            who = LABELS.get(name, subject.architecture)
            for rank in range(shown):
                for below, (side, vectors) in enumerate(
                    (("listens to", result.inputs), ("changes", result.outputs))
                ):
                    row, column = (2 * rank + below, place) if wide else (2 * place + below, rank)
                    ax = axes[row][column]
                    picture = vectors[index, rank].mean(0)
                    limit = picture.abs().max().item() or 1.0
                    ax.imshow(picture.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
                    ax.set(xticks=[], yticks=[])
                    ax.spines[:].set_visible(False)
                    value = result.values[index, rank].item()
                    ax.set_title(f"{who}\n{side}, s = {value:.2f}", fontsize=7)


def summary(results: dict[str, Spectrum]) -> dict[str, Any]:
    """Return the largest singular value, asymmetry and effective rank of each."""
    first = next(iter(results.values()))
    return {
        "t": first.t,
        "log_snr": first.log_snr,
        "images": first.settings["images"],
        **{
            name: {
                "largest": estimate(r.mean("largest")),
                "largest_residual": r.value_residual[:, 0].max().item(),
                "asymmetry": estimate(r.mean("asymmetry")),
                "effective_rank": estimate(r.mean("effective_rank")),
            }
            for name, r in results.items()
        },
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    found = [f"spectrum of ∂x0_hat/∂x_t (log-SNR {content['log_snr']:.2f}, t = {content['t']})"]
    for name, row in content.items():
        if isinstance(row, dict):
            parts = [
                f"{key.replace('_', ' ')} {interval(row[key])}"
                for key in ("largest", "asymmetry", "effective_rank")
            ]
            found.append(f"  {name:11} " + ", ".join(parts))
    return found
