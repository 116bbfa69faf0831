"""How strongly each region of a denoiser's output depends on each region of its input.

With J = d x0_hat / d x_t, the energies between regions i (output) and j (input) are

    squared:  sum over p in i, q in j of J_pq²          l1:  sum of |J_pq|

Exact mode takes one reverse pass per output pixel. The stochastic estimate of the squared energies
takes one per region and Rademacher vector v on that region: E_v ‖(Jᵀ v)_j‖² = ‖J_ij‖_F².
Memory: one forward graph of the batch, whatever the number of pixels.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.errors import UsageError
from diffprobe.models.denoiser import Denoiser


def exact_energies(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Tensor, power: int = 2
) -> Tensor:
    """Return the energies between all regions, exactly.

    Args:
        denoiser: Differentiable in x_t, samples independent of each other.
        x_t: (N, C, H, W).
        t: Noise level.
        regions: (R, C, H, W) bool.
        power: 2 sums squares of the Jacobian's entries, 1 their absolute values.

    Returns:
        (N, R, R) float64, output region by input region.
    """
    x, output = _forward(denoiser, x_t, t)
    membership = rearrange(regions.to(x.device), "r c h w -> r (c h w)").to(x.dtype)
    total = x.new_zeros(len(x), len(regions), len(regions), dtype=torch.float64)
    pixels = membership.any(0).nonzero()[:, 0].tolist()
    for position, pixel in enumerate(pixels):
        cotangent = torch.zeros_like(output)
        cotangent.view(len(x), -1)[:, pixel] = 1
        row = _pull_back(output, x, cotangent, keep=position + 1 < len(pixels))
        to_regions = (row.abs() ** power) @ membership.T
        for region in membership[:, pixel].nonzero()[:, 0].tolist():
            total[:, region] += to_regions
    return total


def estimated_energies(
    denoiser: Denoiser,
    x_t: Tensor,
    t: int,
    regions: Tensor,
    projections: int,
    generator: torch.Generator,
) -> Tensor:
    """Return unbiased estimates of the squared energies from Rademacher projections.

    Args:
        denoiser, x_t, t, regions: As in `exact_energies`.
        projections: Random vectors per region.
        generator: On the CPU.

    Returns:
        (N, R, R) float64, the mean over projections.
    """
    if projections < 1:
        raise UsageError(f"projections must be at least 1, not {projections}")
    x, output = _forward(denoiser, x_t, t)
    membership = rearrange(regions.to(x.device), "r c h w -> r (c h w)").to(x.dtype)
    total = x.new_zeros(len(x), len(regions), len(regions), dtype=torch.float64)
    rounds = [(r, p) for p in range(projections) for r in range(len(regions))]
    for position, (region, _) in enumerate(rounds):
        signs = torch.randint(0, 2, output.shape, generator=generator).to(x) * 2 - 1
        cotangent = signs * regions[region].to(x)
        row = _pull_back(output, x, cotangent, keep=position + 1 < len(rounds))
        total[:, region] += row.square() @ membership.T
    return total / projections


def batches(x_t: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split inputs into the batches a probe holds at once."""
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {batch_size}")
    yield from x_t.split(batch_size)


def _forward(denoiser: Denoiser, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
    if not 0 <= t < denoiser.timesteps:
        raise UsageError(f"noise level t={t} is outside 0 … {denoiser.timesteps - 1}")
    x = x_t.detach().requires_grad_()
    with torch.enable_grad():
        output = denoiser(x, torch.full((len(x),), t, device=x.device))
    return x, output


def _pull_back(output: Tensor, x: Tensor, cotangent: Tensor, keep: bool) -> Tensor:
    (row,) = torch.autograd.grad(output, x, cotangent, retain_graph=keep, materialize_grads=True)
    return row.flatten(1)
