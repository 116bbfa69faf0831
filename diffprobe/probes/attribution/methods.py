"""How much of one number F(x) each pixel of an image x accounts for.

    saliency               |dF/dx|                                    units of F per unit of x
    input × gradient       x dF/dx                                    units of F, as all below
    integrated gradients   (x - b) ∫_0^1 dF/dx (b + s (x - b)) ds
    occlusion              F(x) - F(x with the cell grey, which is zero)
    feature ablation       F(x) - F(x with the cell of b)
    Shapley values         the change of F when the cell of x takes the place of that of b, after
                           the cells before it in an order: the mean over all orders

The baseline b is zeros, the prior mean alpha_t E[x_0], or another noisy image, an independent draw
of x. Integrated gradients and Shapley values are complete: their maps add up to F(x) - F(b),
integrated gradients but for the error of the integral, the convergence delta. Shapley values are
exact, from all coalitions of cells, where these cost no more than `shapley_samples` random orders
(nine cells for 64 orders), and else the mean over these, half of them the others reversed: what two
cells do together is then divided between them in every pair, without chance. What a method gives
to a cell as a whole is spread evenly over its pixels, so that any map can be summed over cells.
"feature-ablation" and "shapley" take `baseline`, or the one that is named behind them. Shapley
values apart, the maps are captum's.

Reference (orders and their reverses):
    Mitchell et al., "Sampling permutations for Shapley value estimation", arXiv:2104.12199.

DeepLift, guided backpropagation and layer-wise relevance propagation are left out: their rules are
not exact for (or equal the gradient in) networks of SiLU, attention and normalisation.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import lazy_loader
import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations.devices import device_of_doubles, in_double
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
    absent = q.baselines[baseline or q.settings.baseline]
    cells = int(q.owner.max()) + 1
    exact = exact_shapley(cells, q.settings)
    values, error, change = (_of_all_coalitions if exact else _of_random_orders)(q, absent, cells)
    return q.per_pixel * values[:, q.owner[0]], values.sum(1) - change, error


def exact_shapley(cells: int, settings: AttributionConfig) -> bool:
    """Return whether all coalitions of cells cost no more than the random orders asked for."""
    return bool(2**cells <= settings.shapley_samples * cells)


def _of_all_coalitions(q: Question, absent: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Shapley values (N, K), their error, which is none, and F(x) - F(b).

        sum over S without cell i of |S|! (K - |S| - 1)! / K! (F(S and i) - F(S)),

    F(S) with the cells in S those of x, and the others those of b.
    """
    number = torch.arange(2**cells, device=q.x.device)
    present = (number[:, None] >> torch.arange(cells, device=q.x.device)) & 1
    worth = _worth(q, absent, present.bool())
    device = device_of_doubles(q.x.device)
    present = present.to(device)
    size = present.sum(1)
    share = torch.tensor(
        [1 / (cells * math.comb(cells - 1, s)) for s in range(cells)],
        dtype=torch.float64,
        device=device,
    )
    # A coalition counts for its members as what they join to, and against all others.
    joined = share[(size - 1).clamp(min=0)][:, None] * present
    without = share[size.clamp(max=cells - 1)][:, None] * (1 - present)
    values = (worth @ (joined - without)).float().to(q.x.device)
    whole = (worth[:, -1] - worth[:, 0]).float().to(q.x.device)
    return values, torch.zeros_like(values), whole


def _of_random_orders(q: Question, absent: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each cell adds (N, K), a mean over orders, its error, and F(x) - F(b)."""
    random = generator(q.common.seed, "shapley orders")
    none = torch.zeros(1, cells, dtype=torch.bool, device=q.x.device)
    empty, full = _worth(q, absent, torch.cat([none, ~none])).split(1, 1)
    draws = []
    # One order and its reverse at a time: the spread of their means is the error.
    for _ in range(q.settings.shapley_samples // 2):
        order = torch.randperm(cells, generator=random).to(q.x.device)
        both = [order.argsort(), order.flip(0).argsort()]
        # Row k: the first k cells of an order, of which none and all are known.
        k = torch.arange(1, cells, device=q.x.device)[:, None]
        between = _worth(q, absent, torch.cat([place < k for place in both])).chunk(2, 1)
        each = [
            torch.cat([empty, worth, full], 1).diff(dim=1)[:, place]
            for place, worth in zip(both, between, strict=True)
        ]
        draws.append(torch.stack(each).mean(0))
    by_pair = torch.stack(draws).float()
    error = by_pair.std(0) / len(draws) ** 0.5
    return by_pair.mean(0), error, (full - empty)[:, 0].float()


def _worth(q: Question, absent: Tensor, present: Tensor) -> Tensor:
    """Return F with the cells that are `present (M, K)` those of x, the others `absent`: (N, M)."""
    found = []
    with torch.no_grad():
        for kept in present.split(q.at_once):
            inside = kept[:, q.owner[0]]
            x = torch.where(inside, q.x[:, None], absent[:, None]).flatten(0, 1)
            weights = q.weights.repeat_interleave(len(kept), 0)
            found.append(in_double(q.output(x, weights).reshape(len(q.x), -1)))
    return torch.cat(found, 1)


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
    "shapley": "Shapley values",
    **{f"feature-ablation-{b}": f"ablation from {b.replace('-', ' ')}" for b in BASELINES},
    **{f"shapley-{b}": f"Shapley from {b.replace('-', ' ')}" for b in BASELINES},
}

# What the maps are judged beside.
CONTROLS = {
    "effect drawn again": "the exact effect, drawn again",
    "random map": "a random map",
    "product": "ablation of the product optimum",
}
