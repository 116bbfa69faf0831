"""Oracles: denoisers computed exactly from a data distribution, not learned.

With evidence scores[b, i, v] = log mean_k N(cell_i(x_t); alpha g_{v,k}, sigma² I), the posterior
over words is the grammar weighted by these scores, so

    Bayes      E[x_0 | x_t] = for each cell, sum over symbols of posterior marginal × mean glyph
    product    the same with independent cells, each cell's prior the grammar's own marginal
    empirical  a softmax over training images

and, as baselines computed from images alone,

    Wiener       mu + alpha Sigma (alpha² Sigma + sigma² I)^-1 (x_t - alpha mu)
    local patch  each pixel from the training images, weighted by the likelihood of the noisy
                 patch around it (Kamb & Ganguli, arXiv:2412.20292, the local score machine)

All are differentiable in x_t, in float32 and float64, from log-SNR -15 to +15. Bayes, product and
empirical are exact as well where each cell has a noise level of its own.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import Stream, SymbolImages
from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations import memory
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser

# Of the memory, what one chunk of inputs may take. With gradients, all chunks are held together.
CHUNK = 1 / 32
# Half the squared distance up to which two pictures count as one: less than a pixel's 1/8.
SAME_PICTURE = 1e-3


class SymbolDenoiser(Denoiser):
    """Mean glyphs of each cell, weighted by a posterior over its symbols."""

    def __init__(self, dataset: SymbolImages, scheduler: Any) -> None:
        super().__init__(scheduler, image_shape=dataset.image_shape, cells=dataset.cell_grid)
        self.dataset = dataset

    def extra_repr(self) -> str:
        """What it is the optimum of."""
        return f"{self.dataset!r}, {super().extra_repr()}"

    def posterior(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the posterior probability of each symbol in each cell.

        Args:
            x_t: (B, C, H, W).
            t: (B,) or (B, L) long.

        Returns:
            (B, L, V).
        """
        evidence = self.dataset.evidence(x_t, *self.schedule.values(t, x_t.dtype))
        return self._marginals(evidence, slice(None))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t]; see `Denoiser.forward`."""
        self.dataset.check_images(x_t)
        per_image = self.dataset.grammar.length * self.dataset.glyphs.known.numel()
        parts = []
        for rows in _chunks(len(x_t), per_image):
            levels = self.schedule.values(t[rows], x_t.dtype)
            evidence = self.dataset.glyph_evidence(x_t[rows], *levels)
            scores = self.dataset.symbol_scores(evidence)
            symbols = self._marginals(scores, rows)
            # p(symbol, glyph) = p(symbol | whole image) p(glyph | symbol, cell)
            weights = symbols[..., None] * evidence.softmax(-1)
            glyphs = self.dataset.glyphs.images.to(x_t)
            parts.append(torch.einsum("blvk,vkchw->blchw", weights, glyphs))
        return self.dataset.image(torch.cat(parts))

    @abstractmethod
    def _marginals(self, scores: Tensor, rows: slice) -> Tensor:
        """Posterior symbol probabilities from `scores (B, L, V)` of these images: (B, L, V)."""


class BayesDenoiser(SymbolDenoiser):
    """The exact optimum `E[x_0 | x_t]` of a grammar's images.

    Args:
        dataset: Grammar, glyphs (all K variants equally likely) and grid.
        scheduler: A diffusers scheduler; what `t` means.
    """

    def _marginals(self, scores: Tensor, rows: slice) -> Tensor:
        return self.dataset.grammar.marginals(scores)


class ProductDenoiser(SymbolDenoiser):
    """The optimum if cells were independent: what a perfectly local network would converge to.

    It draws perfect symbols and knows no grammar.

    Args:
        dataset: As for `BayesDenoiser`.
        scheduler: A diffusers scheduler.
    """

    def __init__(self, dataset: SymbolImages, scheduler: Any) -> None:
        super().__init__(dataset, scheduler)
        # No buffer: it is float64, and moves with the scores to devices that have none.
        self.log_prior = dataset.grammar.symbol_marginals().log()

    def _marginals(self, scores: Tensor, rows: slice) -> Tensor:
        return (scores + self.log_prior.to(scores.dtype).to(scores.device)).softmax(-1)


class EmpiricalDenoiser(Denoiser):
    """The optimum for a finite set of training images: what a network that memorises becomes.

    Args:
        images: (M, C, H, W), equally likely.
        scheduler: A diffusers scheduler.
        cells: The cells whose noise levels may differ, if any.
    """

    def __init__(self, images: Tensor, scheduler: Any, cells: CellGrid | None = None) -> None:
        super().__init__(scheduler, cells=cells)
        self.register_buffer("images", _check_images(images), persistent=False)
        self.images: Tensor

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the mean of the training images given x_t; see `Denoiser.forward`."""
        _check_shape(x_t, self.images)
        images = self.images.to(x_t).flatten(1)
        centre = images.mean(0)
        offsets = images - centre
        parts = []
        for rows in _chunks(len(x_t), len(images)):
            alpha, sigma = self.alpha_sigma(t[rows], x_t.dtype)
            if t.ndim == 1:
                alpha, sigma = alpha.flatten(1), sigma.flatten(1)
                match = (x_t[rows].flatten(1) - alpha * centre) @ offsets.T
                energy = alpha * (match - alpha * offsets.square().sum(1) / 2) / sigma.square()
            else:
                alpha, sigma = (a.expand_as(x_t[rows]).flatten(1) for a in (alpha, sigma))
                energy = _energy_by_pixel(x_t[rows].flatten(1), centre, offsets, alpha, sigma)
            parts.append(energy.softmax(1) @ images)
        return torch.cat(parts).reshape(x_t.shape)


def _energy_by_pixel(
    x_t: Tensor, centre: Tensor, offsets: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Log likelihood of `centre + offsets (M, D)` given `x_t (B, D)`: (B, M), up to constants.

    `alpha` and `sigma` are (B, D). Where pixels have no noise, images that are further from them
    than the nearest is are as good as excluded.
    """
    clean = sigma == 0
    residual = x_t - alpha * centre
    precision = alpha / sigma.where(~clean, 1.0).square()
    noisy = precision.where(~clean, 0.0)
    energy = (noisy * residual) @ offsets.T - (noisy * alpha / 2) @ offsets.square().T
    if not clean.any():
        return energy
    known = precision.where(clean, 0.0)
    distance = (known / 2) @ offsets.square().T - (known * residual) @ offsets.T
    further = distance > distance.amin(1, keepdim=True) + SAME_PICTURE
    return energy.masked_fill(further, -math.inf)


class WienerDenoiser(Denoiser):
    """The best linear denoiser: the optimum for a Gaussian of the images' mean and covariance.

    Args:
        images: (M, C, H, W), at least two.
        scheduler: A diffusers scheduler.
    """

    def __init__(self, images: Tensor, scheduler: Any) -> None:
        super().__init__(scheduler)
        flat = _check_images(images).flatten(1).cpu().double()
        if len(flat) < 2:
            raise UsageError("a covariance needs at least two images")
        variances, axes = torch.linalg.eigh(flat.T.cov().reshape(flat.shape[1], -1))
        self.shape = tuple(images.shape[1:])
        for name, value in (("mean", flat.mean(0)), ("variances", variances.clamp(min=0))):
            self.register_buffer(name, value.to(images), persistent=False)
        self.register_buffer("axes", axes.to(images), persistent=False)
        self.mean: Tensor
        self.variances: Tensor
        self.axes: Tensor

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the linear estimate of x_0; see `Denoiser.forward`."""
        _check_shape(x_t, self.mean.reshape(1, *self.shape))
        alpha, sigma = (a.flatten(1) for a in self.alpha_sigma(t, x_t.dtype))
        mean, variances, axes = (b.to(x_t) for b in (self.mean, self.variances, self.axes))
        gain = alpha * variances / (alpha.square() * variances + sigma.square())
        offset = (x_t.flatten(1) - alpha * mean) @ axes
        return (mean + (gain * offset) @ axes.T).reshape(x_t.shape)


class LocalPatchDenoiser(Denoiser):
    """Each pixel from the training images, weighted by the noisy patch around it alone.

        x0_hat[p] = sum_j w_j(p) y_j[p],   w_j(p) ∝ N(x_t[patch(p)]; alpha y_j[patch(p)], sigma² I)

    Patches are compared at the same place (the local machine, without translation equivariance)
    and cut off at the border.

    Args:
        images: (M, C, H, W), the training images.
        scheduler: A diffusers scheduler.
        patch: Odd width of the patch in pixels.

    Reference:
        Kamb & Ganguli, "An analytic theory of creativity in convolutional diffusion models",
        arXiv:2412.20292.
    """

    def __init__(self, images: Tensor, scheduler: Any, patch: int) -> None:
        super().__init__(scheduler)
        if patch < 1 or patch % 2 == 0:
            raise UsageError(f"the patch must be a positive odd number of pixels, not {patch}")
        self.patch = patch
        self.register_buffer("images", _check_images(images), persistent=False)
        self.images: Tensor

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the patchwise estimate of x_0; see `Denoiser.forward`."""
        _check_shape(x_t, self.images)
        images = self.images.to(x_t)
        centre = images.mean(0)
        offsets = images - centre
        parts = []
        for rows in _chunks(len(x_t), images.numel()):
            alpha, sigma = self.alpha_sigma(t[rows], x_t.dtype)
            residual = alpha / sigma.square() * (x_t[rows] - alpha * centre)
            # Channels are added up at once: the largest tensor has one number an image and pixel.
            alike = torch.einsum("bchw,mchw->bmhw", residual, offsets)
            penalty = (alpha / sigma).square() / 2 * offsets.square().sum(1)
            energy = self._sum_over_patch(alike - penalty)
            weights = energy.softmax(1)
            parts.append(torch.einsum("bmhw,mchw->bchw", weights, images))
        return torch.cat(parts)

    def _sum_over_patch(self, maps: Tensor) -> Tensor:
        # Rows, then columns, as products with bands of ones: pooling is ten times slower backwards.
        down, along = (
            (place[:, None] - place).abs() <= self.patch // 2
            for place in (torch.arange(size, device=maps.device) for size in maps.shape[-2:])
        )
        return down.to(maps) @ maps @ along.to(maps)


def training_oracle(dataset: SymbolImages, scheduler: Any, stream: Stream) -> BayesDenoiser | None:
    """Return the optimum for what training sees over all its steps, its words in all variants.

    Of a finite training set it equals `EmpiricalDenoiser` of every image that training can draw,
    without listing them.

    Returns:
        None where training draws from the world's grammar itself.

    Raises:
        UsageError: If training draws images in another way than the world.
    """
    if not stream.plain:
        raise UsageError("the optimum for images that are not drawn as the world's is not known")
    language = stream.language()
    if language is stream.grammar:
        return None
    return BayesDenoiser(SymbolImages(language, dataset.glyphs, dataset.grid), scheduler)


def image_baselines(
    dataset: SymbolImages, scheduler: Any, stream: Stream, n: int, seed: int = 0
) -> dict[str, Denoiser]:
    """Return what can be computed from `n` training images alone, without knowing the glyphs.

    Returns:
        "wiener", and "local-patch" with patches of the size of a cell.

    Raises:
        UsageError: If there are fewer than two.
    """
    if n < 2:
        raise UsageError(f"probe.baseline_images must be at least 2 (0 for no baselines), not {n}")
    random = generator(seed, "baseline images")
    images = stream.draw_images(dataset, n, random)
    patch = max(dataset.glyphs.cell) // 2 * 2 + 1
    return {
        "wiener": WienerDenoiser(images, scheduler),
        "local-patch": LocalPatchDenoiser(images, scheduler, patch),
    }


def _chunks(n: int, elements_per_row: int) -> Iterator[slice]:
    size = memory.items(4 * elements_per_row, CHUNK)
    for first in range(0, n, size):
        yield slice(first, first + size)


def _check_images(images: Tensor) -> Tensor:
    if images.ndim != 4 or len(images) == 0 or not images.is_floating_point():
        raise UsageError(
            f"training images must be (M, C, H, W) floats, at least one; got {images.dtype} of "
            f"shape {tuple(images.shape)}"
        )
    if not images.isfinite().all():
        raise UsageError("training images contain values that are not finite")
    return images.detach().clone()


def _check_shape(x_t: Tensor, images: Tensor) -> None:
    if x_t.shape[1:] != images.shape[1:]:
        raise UsageError(
            f"x_t has shape {tuple(x_t.shape)}; this denoiser's images are "
            f"(B, {', '.join(map(str, images.shape[1:]))})"
        )
