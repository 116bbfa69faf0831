"""Sharpness of the denoising loss: tr(H), tr(Diag(H)^½) and the largest eigenvalues.

With label noise, SGD goes to those minima of the loss where tr(H) is small, and Adam to those where
tr(Diag(H)^½) is. H is that of the loss of `curvature`, in expectation over images, noise and noise
levels, uniform in t; nothing of its P × P numbers is held but the diagonal.

Inputs come in B blocks, independent of each other. Each block and noise level gives estimates of

    Diag(G)   from one reverse pass, (Jᵀ u)², u random signs
    Diag(R)   from one product more, v · R v, v random signs (Hutchinson's)

whose sums are unbiased for the traces; their spread over blocks is that of inputs, noise and
random vectors alike. The root is not linear: of a noisy h it is too small by about Var(h)/8h^{3/2}.
The jackknife over blocks takes that away where h stands out of its noise. R's noise is that of a
whole row of it, so that many h may not; of the root only those are sure that are `CLEAR` standard
errors above zero. Where they do not make up `RESOLVED` of tr(Diag(H)^½) it is not told. Diag(G) has
noise in proportion to itself, and its root is always told: at the optimum it is that of H.

References:
    Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; Bekas,
    Kokiopoulou & Saad, "An estimator for the diagonal of a matrix", 2007; "Adam reduces a unique
    form of sharpness", arXiv:2511.02773.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations import intervals, memory
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser, PredictionDenoiser
from diffprobe.probes.sharpness import NO_WEIGHTS, SharpnessConfig, lanczos
from diffprobe.probes.sharpness.curvature import LossCurvature, Weights
from diffprobe.probes.sharpness.inputs import Inputs
from diffprobe.probing.jacobian import rademacher

CLEAR, RESOLVED = 2.0, 0.9
HELD = 20.0  # bytes of a weight in a block: two diagonals of a level and of all, and passing ones
NUMBERS = ("loss", "trace", "root_trace", "gauss_newton_trace", "gauss_newton_root_trace")


@dataclass(frozen=True, repr=False)
class Sharpness(Measurement):
    """How the loss bends: at T ranges of noise levels, in L layers, along K directions.

    Attributes:
        t: (T,) long, the middle of each range, noisiest first.
        log_snr: (T,) there.
        overall: Name -> (), over all levels: `NUMBERS`.
        by_level: Name -> (T,), the same of each range.
        by_layer: Name -> (L,), the same but the loss; a trace is the sum of its layers.
        resolved: Share of tr(Diag(H)^½) that stands out of its noise.
        eigenvalues: (K,) of H, largest first; the error is over inputs, direction held.
        eigenvalue_residual: (K,) ‖H u - λ u‖: an eigenvalue lies as near at least.
        eigenvector_shares: (K, L) which share of the direction's square lies in each layer.
        top_by_level: (T,) the largest eigenvalue at each range.
        layers: L names.
        settings: Inputs, blocks, weights, projections, iterations, seed.
    """

    t: Tensor
    log_snr: Tensor
    overall: dict[str, Interval]
    by_level: dict[str, Interval]
    by_layer: dict[str, Interval]
    resolved: float
    eigenvalues: Interval
    eigenvalue_residual: Tensor
    eigenvector_shares: Tensor
    top_by_level: Interval
    layers: tuple[str, ...]
    settings: dict[str, Any]

    def numbers(self) -> Mapping[str, Interval]:
        """Return what is told over all levels, and at each."""
        at_each = {f"{name} at a level": value for name, value in self.by_level.items()}
        top = {"eigenvalue": self.eigenvalues[0], "eigenvalue at a level": self.top_by_level}
        return {**self.overall, **at_each, **top}


def measure(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    settings: SharpnessConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    bayes: Denoiser | None = None,
    progress: Progress = silent,
) -> Sharpness:
    """Measure how the denoising loss bends with a network's weights.

    Args:
        denoiser: A network, or a function of modules with weights.
        images: Where the inputs come from.
        settings: `images` of each level, `levels`, `projections`, `values`, `iterations`.
        common: `seed`.
        bayes: The Bayes oracle of the images, where it is known: it takes noise away.
        progress: Called as tqdm is.

    Raises:
        UsageError: If the denoiser has no weights, fewer than values are asked for, or levels than
            ranges, or its loss is not finite.
        MemoryLimitError: If a budget does not hold the diagonals of all blocks.
    """
    settings, common = settings or SharpnessConfig(), common or ProbeConfig()
    if not isinstance(denoiser, PredictionDenoiser) or not any(True for _ in denoiser.parameters()):
        raise UsageError(NO_WEIGHTS)
    weights = Weights(denoiser)
    for name, most in (("values", len(weights)), ("levels", denoiser.timesteps)):
        if getattr(settings, name) > most:
            asked = getattr(settings, name)
            raise UsageError(f"probes.sharpness.{name} must lie in 1 … {most}, not {asked}")
    inputs = Inputs(denoiser, weights, images, settings.images, settings.levels, common.seed, bayes)
    memory.room_for(
        HELD * inputs.blocks * len(weights),
        1 / 2,
        f"the diagonal of {len(weights):,} weights in {inputs.blocks} blocks",
    )
    random = generator(common.seed, "sharpness")
    with weights.differentiable():
        top = Top.of(inputs, weights, settings, random, progress)
        found = _sweep(inputs, weights, settings, top, random, progress)
    return Sharpness(
        t=inputs.middles,
        log_snr=denoiser.log_snr(inputs.middles).cpu(),
        layers=weights.layers,
        eigenvalue_residual=top.residual,
        eigenvector_shares=weights.by_layer(top.vectors.square()).cpu(),
        settings={
            "images": inputs.blocks * inputs.each,
            "blocks": inputs.blocks,
            "weights": len(weights),
            "projections": settings.projections,
            "iterations": settings.iterations,
            "bayes": bayes is not None,
            "seed": common.seed,
        },
        **found,
    )


@dataclass(frozen=True)
class Top:
    """Directions of the largest eigenvalues.

    Attributes:
        vectors: (K, P) over all levels, of unit length.
        residual: (K,) ‖H u - λ u‖.
        by_level: (T, P) of the largest alone.
    """

    vectors: Tensor
    residual: Tensor
    by_level: Tensor

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        weights: Weights,
        settings: SharpnessConfig,
        random: torch.Generator,
        progress: Progress,
    ) -> "Top":
        """Find them by Lanczos."""
        levels = range(settings.levels)
        start = torch.randn(len(weights), generator=random).to(weights.tensors[0])

        def directions(values: int, *at: int) -> tuple[Tensor, Tensor]:
            what = "sharpness, all levels" if len(at) > 1 else "sharpness, one level"
            steps = progress(range(settings.iterations), desc=what, unit="iteration")

            def product(v: Tensor) -> Tensor:
                return torch.stack([inputs.product(level, v) for level in at]).mean(0)

            _, residual, vectors = lanczos.largest(product, start, values, steps)
            return vectors, residual

        vectors, residual = directions(settings.values, *levels)
        each = vectors[None] if len(levels) == 1 else [directions(1, at)[0] for at in levels]
        return cls(vectors, residual, torch.stack([found[0] for found in each]))


def _sweep(
    inputs: Inputs,
    weights: Weights,
    settings: SharpnessConfig,
    top: Top,
    random: torch.Generator,
    progress: Progress,
) -> dict[str, Any]:
    """Go once over all blocks and levels: what `Sharpness` holds of the diagonal and of `top`."""
    n, p, levels = inputs.blocks, len(weights), settings.levels
    total = torch.zeros(2, n, p)  # of G and of H
    loss, along = torch.zeros(levels, n), torch.zeros(levels, n, len(top.vectors) + 1)
    by_level = []
    for level in progress(range(levels), desc="sharpness", unit="noise level"):
        here = torch.zeros(2, n, p)
        for block in range(n):
            at = inputs.block(block, level)
            g, r = _diagonals(at, settings.projections, random)
            here[0, block], here[1, block] = g.cpu(), (g + r).cpu()
            loss[level, block] = at.loss
            vectors = [*top.vectors, top.by_level[level]]
            bent = [(u @ hu).item() for u, hu in zip(vectors, at.products(vectors), strict=True)]
            along[level, block] = torch.tensor(bent)
        by_level.append(_told(here, loss[level], weights)[0])
        total += here / levels
    overall, by_layer, resolved = _told(total, loss.mean(0), weights)
    return {
        "overall": overall,
        "by_layer": by_layer,
        "by_level": {
            name: intervals.stacked([found[name] for found in by_level]) for name in NUMBERS
        },
        "resolved": resolved,
        "eigenvalues": intervals.mean(along[..., :-1].mean(0).T),
        "top_by_level": intervals.mean(along[..., -1]),
    }


def _diagonals(
    at: LossCurvature, projections: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Estimate Diag(G) and Diag(R): (P,) each."""
    signs = [rademacher(at.output, random) for _ in range(projections)]
    g = torch.stack([at.gauss_newton_diagonal(u) for u in signs]).mean(0)
    vectors = [rademacher(g, random) for _ in range(projections)]
    products = at.rest_products(vectors)
    return g, torch.stack([v * rv for v, rv in zip(vectors, products, strict=True)]).mean(0)


def _told(
    diagonals: Tensor, loss: Tensor, weights: Weights
) -> tuple[dict[str, Interval], dict[str, Interval], float]:
    """Return the numbers over all weights and by layer, and the share that is resolved.

    Args:
        diagonals: (2, B, P) of G and of H.
        loss: (B,).
        weights: Whose layers.
    """
    traces = weights.by_layer(diagonals)
    roots = torch.stack([root_pseudovalues(each, weights) for each in diagonals])
    resolved = _resolved(diagonals[1])
    if resolved < RESOLVED:
        roots[1] = torch.nan
    parts = {
        "trace": traces[1],
        "root_trace": roots[1],
        "gauss_newton_trace": traces[0],
        "gauss_newton_root_trace": roots[0],
    }
    overall = {name: intervals.mean(part.sum(-1)) for name, part in parts.items()}
    by_layer = {name: intervals.mean(part.T) for name, part in parts.items()}
    return {"loss": intervals.mean(loss), **overall}, by_layer, resolved


def root_pseudovalues(diagonal: Tensor, weights: Weights) -> Tensor:
    """Return jackknife pseudovalues of Σ sqrt(mean over blocks), by layer: (B, L) of (B, P)."""
    n = len(diagonal)
    total = diagonal.sum(0)

    def root(mean: Tensor) -> Tensor:
        return weights.by_layer(mean.clamp(min=0).sqrt())

    left_out = torch.stack([root((total - one) / (n - 1)) for one in diagonal])
    return n * root(total / n) - (n - 1) * left_out


def _resolved(diagonal: Tensor) -> float:
    """Return which share of Σ sqrt(h) is in entries `CLEAR` standard errors above zero."""
    mean = diagonal.mean(0)
    error = diagonal.std(0) / len(diagonal) ** 0.5
    roots = mean.clamp(min=0).sqrt().double()
    return float(roots[mean > CLEAR * error].sum() / roots.sum().clamp(min=1e-300))
