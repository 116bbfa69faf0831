"""How much of one number F(x) each pixel of an image x accounts for, by captum.

    saliency               |dF/dx|                                    units of F per unit of x
    input × gradient       x dF/dx                                    units of F, as all below
    integrated gradients   (x - b) ∫_0^1 dF/dx (b + s (x - b)) ds
    occlusion              F(x) - F(x with the cell grey, which is zero)
    feature ablation       F(x) - F(x with the cell of b)
    Shapley sampling       the change of F when the cell of x takes the place of that of b, after
                           the cells before it in a random order: the mean over orders

The baseline b is zeros, the prior mean alpha_t E[x_0], or another noisy image, an independent draw
of x. Integrated gradients and Shapley sampling are complete: their maps add up to F(x) - F(b),
integrated gradients but for the error of the integral, the convergence delta. What a method gives
to a cell as a whole is spread evenly over its pixels, so that any map can be summed over cells.
"feature-ablation" and "shapley" take `baseline`, or the one that is named behind them.

DeepLift, guided backpropagation and layer-wise relevance propagation are left out: their rules are
not exact for (or equal the gradient in) networks of SiLU, attention and normalisation.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import lazy_loader
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.config import ProbeConfig
from diffprobe.foundations.seeding import generator
from diffprobe.probes.attribution import AttributionConfig

# It brings all of matplotlib: a second that maps which were kept need not wait for.
captum = lazy_loader.load("captum")

# Maps (N, C, H, W); their sums minus F(x) - F(b), (N,), NaN for a method that is not complete; and
# (N, K) the standard error of the sum over each of K cells, from random orders.
Answer = tuple[Tensor, Tensor, Tensor]

BASELINES = ("zeros", "prior-mean", "noisy-image")


@dataclass(frozen=True)
class Question:
    """What is attributed to what, for a batch of N images.

    Attributes:
        output: F, from images (B, C, H, W) and their weights (B, C, H, W) to (B,).
        x: (N, C, H, W).
        weights: (N, C, H, W), what `output` takes beside the images.
        baselines: (N, C, H, W) for each name in `BASELINES`.
        owner: (1, C, H, W) long, the cell of each pixel, 0 … K-1.
        window: (C, height, width) of a cell where all are alike and tile the image, else None.
        settings: `baseline`, `integration_steps`, `shapley_samples`.
        common: `seed`; `batch_size`, at least N, images are evaluated at once.
    """

    output: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    weights: Tensor
    baselines: dict[str, Tensor]
    owner: Tensor
    window: tuple[int, int, int] | None
    settings: AttributionConfig
    common: ProbeConfig

    def __getitem__(self, rows: slice | Tensor) -> "Question":
        """Return what is asked of some of the images."""
        return replace(
            self,
            x=self.x[rows],
            weights=self.weights[rows],
            baselines={name: b[rows] for name, b in self.baselines.items()},
        )

    @property
    def at_once(self) -> int:
        """How many perturbations of every image are evaluated at once."""
        return max(1, self.common.batch_size // len(self.x))

    @property
    def per_pixel(self) -> Tensor:
        """(1, C, H, W): one over the number of pixels of each pixel's cell."""
        flat = self.owner.flatten()
        return (1 / flat.bincount()[flat]).reshape(self.owner.shape)

    def answer(self, maps: Tensor, delta: Tensor | None = None) -> Answer:
        """Return the answer of a method without chance."""
        cells = int(self.owner.max()) + 1
        unknown = torch.full((len(self.x),), math.nan, device=self.x.device)
        return (
            maps.detach().float(),
            unknown if delta is None else delta.detach().float(),
            torch.zeros(len(self.x), cells, device=self.x.device),
        )


def _saliency(q: Question) -> Answer:
    return q.answer(
        captum.attr.Saliency(q.output).attribute(_leaf(q.x), additional_forward_args=q.weights)
    )


def _input_x_gradient(q: Question) -> Answer:
    maps = captum.attr.InputXGradient(q.output).attribute(
        _leaf(q.x), additional_forward_args=q.weights
    )
    return q.answer(maps)


def _integrated_gradients(q: Question, baseline: str) -> Answer:
    maps, delta = captum.attr.IntegratedGradients(q.output).attribute(
        q.x,
        baselines=q.baselines[baseline],
        additional_forward_args=q.weights,
        n_steps=q.settings.integration_steps,
        internal_batch_size=q.common.batch_size,
        return_convergence_delta=True,
    )
    return q.answer(maps, delta)


def _occlusion(q: Question) -> Answer:
    if q.window is None:
        return _ablate(q, "zeros")
    maps = captum.attr.Occlusion(q.output).attribute(
        q.x,
        sliding_window_shapes=q.window,
        strides=q.window,
        baselines=q.baselines["zeros"],
        additional_forward_args=q.weights,
        perturbations_per_eval=q.at_once,
    )
    return q.answer(maps * q.per_pixel)


def _ablate(q: Question, baseline: str | None = None) -> Answer:
    maps = captum.attr.FeatureAblation(q.output).attribute(
        q.x,
        baselines=q.baselines[baseline or q.settings.baseline],
        feature_mask=q.owner,
        additional_forward_args=q.weights,
        perturbations_per_eval=q.at_once,
    )
    return q.answer(maps * q.per_pixel)


def _shapley(q: Question, baseline: str | None = None) -> Answer:
    random = generator(q.common.seed, "shapley orders")
    absent = q.baselines[baseline or q.settings.baseline]

    def orders(cells: int, n: int) -> Iterator[list[int]]:
        return (torch.randperm(cells, generator=random).tolist() for _ in range(n))

    sampling = captum.attr.ShapleyValueSampling(q.output)
    # captum draws orders from the global generator, which would tie them to what ran before.
    sampling.permutation_generator = orders
    cells = one_hot(q.owner.flatten()).float()
    draws = []
    # One order at a time: their spread is the error.
    for _ in range(q.settings.shapley_samples):
        maps = sampling.attribute(
            q.x,
            baselines=absent,
            feature_mask=q.owner,
            additional_forward_args=q.weights,
            n_samples=1,
            perturbations_per_eval=q.at_once,
        )
        draws.append((maps * q.per_pixel).flatten(1) @ cells)
    by_order = torch.stack(draws)
    values = by_order.mean(0)
    with torch.no_grad():
        change = q.output(q.x, q.weights) - q.output(absent, q.weights)
    return (
        q.per_pixel * values[:, q.owner[0]],
        values.sum(1) - change,
        by_order.std(0) / len(draws) ** 0.5,
    )


def _leaf(x: Tensor) -> Tensor:
    # captum warns when it has to ask for the gradient itself.
    return x.clone().requires_grad_()


def baseline_of(method: str, chosen: str) -> str | None:
    """Return the baseline to which a method compares the image; None for a pure derivative.

    Args:
        method: One of `METHODS`.
        chosen: The baseline of those that take any.
    """
    if method == "saliency":
        return None
    if method in ("input-x-gradient", "occlusion"):
        return "zeros"
    if method in AT_CHOICE:
        return chosen
    return next(name for name in BASELINES if method.endswith(name))


def from_every_baseline(methods: Iterable[str]) -> tuple[str, ...]:
    """Return methods in their order, those whose baseline can be chosen from each of `BASELINES`.

    >>> from_every_baseline(["saliency", "shapley"])[:2]
    ('saliency', 'shapley-zeros')
    """
    found = [[f"{m}-{b}" for b in BASELINES] if m in AT_CHOICE else [m] for m in methods]
    return tuple(dict.fromkeys(itertools.chain(*found)))


# Those that take the configured baseline, or the one named behind them.
AT_CHOICE: dict[str, Callable[..., Answer]] = {"feature-ablation": _ablate, "shapley": _shapley}

METHODS: dict[str, Callable[[Question], Answer]] = {
    "saliency": _saliency,
    "input-x-gradient": _input_x_gradient,
    **{f"integrated-gradients-{b}": partial(_integrated_gradients, baseline=b) for b in BASELINES},
    "occlusion": _occlusion,
    **AT_CHOICE,
    **{f"feature-ablation-{b}": partial(_ablate, baseline=b) for b in BASELINES},
    **{f"shapley-{b}": partial(_shapley, baseline=b) for b in BASELINES},
}

TITLES = {
    "saliency": "saliency",
    "input-x-gradient": "input × gradient",
    **{f"integrated-gradients-{b}": f"IG from {b.replace('-', ' ')}" for b in BASELINES},
    "occlusion": "occlusion",
    "feature-ablation": "feature ablation",
    "shapley": "Shapley sampling",
    **{f"feature-ablation-{b}": f"ablation from {b.replace('-', ' ')}" for b in BASELINES},
    **{f"shapley-{b}": f"Shapley from {b.replace('-', ' ')}" for b in BASELINES},
}

# What the maps are judged beside.
CONTROLS = {
    "effect drawn again": "the exact effect, drawn again",
    "random map": "a random map",
    "product": "ablation of the product optimum",
}
