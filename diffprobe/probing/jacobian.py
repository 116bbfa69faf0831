"""The Jacobian engine: how a denoiser's output depends on its input, J = d x0_hat / d x_t.

Every probe of the derivative rests on two products with J at N inputs at once, each with its own J:

    pull back     Jᵀ u   one reverse pass
    push forward  J v    one reverse pass through the reverse pass (forward mode fails in attention)

The energies between regions i (output) and j (input; the last one is the rest of the image, where
the regions leave any) are

    squared:  sum over p in i, q in j of J_pq²          l1:  sum of |J_pq|

exactly by one pull-back per output pixel, or, the squared ones, estimated by one per region and
Rademacher vector v on that region: E_v ‖(Jᵀ v)_j‖² = ‖J_ij‖_F² (Hutchinson's estimator).

Memory: the forward graph of a batch of N inputs, pixels × regions numbers, and what is returned,
whatever the number of rows: rows are added up as they come.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.noise_levels import check_level
from diffprobe.probing.regions import Regions


class Linearisation:
    """A denoiser near N inputs: x0_hat(x + d) ≈ x0_hat(x) + J d.

    Args:
        denoiser: Differentiable in x_t, inputs independent of each other.
        x_t: (N, C, H, W).
        t: Noise level; or a level for each cell of each input, (N, cells) long.
        twice: Keep what `push_forward` needs, about twice the memory.

    Raises:
        UsageError: If there is no such level, or the output is not finite.
    """

    def __init__(
        self, denoiser: Denoiser, x_t: Tensor, t: int | Tensor, *, twice: bool = False
    ) -> None:
        self.x = x_t.detach().requires_grad_()
        if isinstance(t, Tensor):
            level, told = t, "these levels"
        else:
            check_level(denoiser, t)
            level, told = torch.full((len(x_t),), t, device=x_t.device), f"t={t}"
        with torch.enable_grad():
            if twice:
                # The fused attention kernels have no second derivative.
                with sdpa_kernel(SDPBackend.MATH):
                    self.output = denoiser(self.x, level)
            else:
                self.output = denoiser(self.x, level)
            if not self.output.isfinite().all():
                raise UsageError(f"the denoiser's output at {told} is not finite")
            if twice:
                self._dual = torch.zeros_like(self.output, requires_grad=True)
                # Jᵀ u is linear in u: its derivative along u is J.
                self._linear = self._reverse(self._dual, create_graph=True)

    def pull_back(self, u: Tensor) -> Tensor:
        """Return Jᵀ u of each input, (N, C, H, W) from (N, C, H, W)."""
        return self._reverse(u, create_graph=False)

    def push_forward(self, v: Tensor) -> Tensor:
        """Return J v of each input, (N, C, H, W) from (N, C, H, W); needs `twice`."""
        (result,) = torch.autograd.grad(
            self._linear, self._dual, v, retain_graph=True, materialize_grads=True
        )
        return result

    def rows(self, pixels: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each pixel of `pixels` (indices into C·H·W) and its row of J, (N, C·H·W)."""
        for pixel in pixels.tolist():
            one_hot = torch.zeros_like(self.output)
            one_hot.view(len(self.x), -1)[:, pixel] = 1
            yield pixel, self.pull_back(one_hot).flatten(1)

    def _reverse(self, u: Tensor, create_graph: bool) -> Tensor:
        (result,) = torch.autograd.grad(
            self.output,
            self.x,
            u,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
        return result


def exact_jacobian(denoiser: Denoiser, x_t: Tensor, t: int, pixels: Tensor | None = None) -> Tensor:
    """Return rows of the Jacobian of each input.

    Args:
        denoiser, x_t, t: As for `Linearisation`.
        pixels: (P,) output pixels as indices into C·H·W; all by default.

    Returns:
        (N, P, C·H·W): N·P·C·H·W numbers are held at once.
    """
    line = Linearisation(denoiser, x_t, t)
    wanted = torch.arange(x_t[0].numel()) if pixels is None else pixels
    return torch.stack([row for _, row in line.rows(wanted)], 1)


def exact_energies(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Regions, power: int = 2
) -> Tensor:
    """Return the energies between R output regions and S parts of the input, exactly.

    Args:
        denoiser, x_t, t: As for `Linearisation`.
        regions: R regions; S is R, or R + 1 where they leave a rest.
        power: 2 sums squares of the Jacobian's entries, 1 their absolute values.

    Returns:
        (N, R, S) float64, output region by input part.
    """
    line = Linearisation(denoiser, x_t, t)
    owner, parts = regions.masks.flatten(1), _membership(regions.parts, x_t)
    total = in_double(x_t.new_zeros(len(x_t), len(owner), len(parts)))
    for pixel, row in line.rows(owner.any(0).nonzero()[:, 0]):
        total[:, int(owner[:, pixel].nonzero())] += in_double((row.abs() ** power) @ parts.T)
    return total


def estimated_energies(
    denoiser: Denoiser,
    x_t: Tensor,
    t: int | Tensor,
    regions: Regions,
    projections: int,
    generator: torch.Generator,
) -> Tensor:
    """Return unbiased estimates of the squared energies, one from each Rademacher projection.

    Args:
        denoiser, x_t, t, regions: As in `exact_energies`.
        projections: P random vectors per region.
        generator: On the CPU.

    Returns:
        (N, P, R, S) float64; their mean over P estimates the energies, and their spread what a
        function of it is off by.
    """
    if projections < 1:
        raise UsageError(f"projections must be at least 1, not {projections}")
    line = Linearisation(denoiser, x_t, t)
    parts = _membership(regions.parts, x_t)
    found = in_double(x_t.new_zeros(len(x_t), projections, len(regions), len(parts)))
    for draw, region, row in _projected_rows(line, regions.masks, projections, generator):
        found[:, draw, region] = in_double(row @ parts.T)
    return found


def pixel_energies(
    denoiser: Denoiser,
    x_t: Tensor,
    t: int,
    region: Tensor,
    projections: int,
    generator: torch.Generator,
) -> Tensor:
    """Return how strongly one region's output depends on each input pixel.

        sum over p in the region of J_pq²

    Args:
        denoiser, x_t, t: As for `Linearisation`.
        region: (C, H, W) bool.
        projections: Random vectors; 0 is exact.
        generator: On the CPU.

    Returns:
        (N, P, C, H, W) float64, an estimate from each projection; P is 1 where it is exact.
    """
    if projections < 0:
        raise UsageError(f"projections must be at least 0, not {projections}")
    line = Linearisation(denoiser, x_t, t)
    found = in_double(x_t.new_zeros(len(x_t), max(1, projections), region.numel()))
    if projections == 0:
        for _, row in line.rows(region.flatten().nonzero()[:, 0]):
            found[:, 0] += in_double(row.square())
    else:
        for draw, _, row in _projected_rows(line, region[None], projections, generator):
            found[:, draw] = in_double(row)
    return found.reshape(len(x_t), -1, *x_t.shape[1:])


def reverse_passes(regions: Tensor, projections: int) -> int:
    """Return how many reverse passes a batch costs, exactly (`projections` 0) or by projections."""
    if projections == 0:
        return int(regions.any(0).sum())
    return len(regions) * projections


def batches(x_t: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split inputs into the batches a probe holds at once."""
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {batch_size}")
    yield from x_t.split(batch_size)


def rademacher(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw signs of the shape, type and device of `like`; the same ones on every device."""
    return torch.randint(0, 2, like.shape, generator=generator).to(like) * 2 - 1


def _projected_rows(
    line: Linearisation, regions: Tensor, projections: int, generator: torch.Generator
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield a draw, a region and the squares of (Jᵀ v) for a random v on it, (N, C·H·W)."""
    for draw in range(projections):
        for index, region in enumerate(regions):
            signs = rademacher(line.output, generator)
            u = signs * region.to(line.output)
            yield draw, index, line.pull_back(u).flatten(1).square()


def _membership(regions: Tensor, x_t: Tensor) -> Tensor:
    return rearrange(regions.to(x_t), "r c h w -> r (c h w)")
