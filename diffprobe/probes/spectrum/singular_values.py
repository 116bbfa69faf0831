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
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
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
from diffprobe.models.footprint import check_inputs
from diffprobe.probes.spectrum import SpectrumConfig
from diffprobe.probing.jacobian import Linearisation, rademacher
from diffprobe.probing.noise_levels import input_sources, noisy_inputs
from diffprobe.probing.ratio import jackknife

OVERSAMPLING = 4  # more vectors than asked for, so that the last ones converge too


@dataclass(frozen=True, repr=False)
class Spectrum(Measurement):
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

    def numbers(self) -> dict[str, Interval]:
        """Return the means over inputs."""
        return {name: self.mean(name) for name in ("largest", "asymmetry", "effective_rank")}

    @property
    def largest(self) -> Tensor:
        """(N,) the largest singular value of each input."""
        return self.values[:, 0]

    def mean(self, name: str) -> Interval:
        """Return the mean over inputs of an attribute (N,): (); none of them is negative."""
        found = intervals.mean(getattr(self, name), self.sources, resolution=RESOLUTION)
        return replace(found, low=found.low.clamp(min=0))


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: SpectrumConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    t: int,
    progress: Progress = silent,
) -> Spectrum:
    """Measure the top of the Jacobian's spectrum, its asymmetry and its effective rank.

    Args:
        denoiser: A network or an oracle, twice differentiable.
        images: Where the inputs come from.
        settings: `images`, `values`, `iterations`, `projections`.
        common: `seed`.
        t: Noise level.
        progress: Called as tqdm is.

    Raises:
        UsageError: If more values are asked for than there are.
        MemoryLimitError: If a budget does not hold the inputs.
    """
    settings, common = settings or SpectrumConfig(), common or ProbeConfig()
    n, k = settings.images, settings.values
    x_t = noisy_inputs(denoiser, images, n, t, common.seed)
    pixels = x_t[0].numel()
    if k > pixels:
        raise UsageError(f"probes.spectrum.values must lie in 1 … {pixels}, not {k}")
    check_inputs(denoiser, x_t, graphs=3)
    line = Linearisation(denoiser, x_t, t, twice=True)
    random = generator(common.seed, "spectrum")
    width = min(k + OVERSAMPLING, pixels)
    block = torch.randn(n, pixels, width, generator=random).to(x_t)
    for _ in progress(range(settings.iterations), desc="spectrum", unit="iteration"):
        left = _orthonormal(_on_columns(line.push_forward, block, x_t))
        block = _orthonormal(_on_columns(line.pull_back, left, x_t))
    # Within the subspace the decomposition is exact: J V = U S Wᵀ.
    image = _on_columns(line.push_forward, block, x_t)
    left, values, turn = torch.linalg.svd(in_double(image), full_matrices=False)
    right = in_double(block) @ turn.mT
    back = in_double(_on_columns(line.pull_back, left.to(x_t), x_t))
    residual = (back - values[:, None] * right).norm(dim=1)
    moments = _moments(line, settings.projections, random)
    return Spectrum(
        values=values[:, :k].cpu(),
        value_residual=residual[:, :k].cpu(),
        inputs=_as_images(right[..., :k], x_t),
        outputs=_as_images(left[..., :k], x_t),
        x_t=x_t.cpu(),
        energy=moments[..., 0].mean(1).cpu(),
        asymmetry=jackknife(lambda m: m[..., 1] / m[..., 0], moments).cpu(),
        effective_rank=jackknife(lambda m: m[..., 0].square() / m[..., 2], moments).cpu(),
        sources=input_sources(images, n, common.seed),
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        settings={
            "images": n,
            "iterations": settings.iterations,
            "projections": settings.projections,
            "seed": common.seed,
        },
    )


def _on_columns(product: Callable[[Tensor], Tensor], block: Tensor, x_t: Tensor) -> Tensor:
    """Apply a product of the engine to each column of `block (N, pixels, K)`."""
    columns = [product(column.reshape(x_t.shape)).flatten(1) for column in block.unbind(-1)]
    return torch.stack(columns, -1)


def _orthonormal(block: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(in_double(block)).Q
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
                [
                    in_double(x.flatten(1)).square().sum(1)
                    for x in (back, (forth - back) / 2, again)
                ],
                -1,
            )
        )
    return torch.stack(sums, 1)


def _as_images(vectors: Tensor, x_t: Tensor) -> Tensor:
    _, channels, height, _ = x_t.shape
    return rearrange(vectors, "n (c h w) k -> n k c h w", c=channels, h=height).float().cpu()
