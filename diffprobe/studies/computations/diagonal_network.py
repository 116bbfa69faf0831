"""Sparse regression by a diagonal linear network: what label noise prefers among the minima."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations._label_noise import LabelNoise, Problem

if TYPE_CHECKING:
    from torch import Tensor

POWERS = {"trace": 1.0, "trace_075": 0.75, "root_trace": 0.5, "trace_025": 0.25}


@dataclass(frozen=True)
class DiagonalNetwork(LabelNoise):
    """Regression with weights u² − v², of fewer samples than weights, with noise on the labels.

    Of `dimension` true weights `sparsity` are ±1 and the others 0; `samples` are normal, and u and
    v start at `start`, so that the weights start at zero. Descent has learning rate
    `learning_rate`, divides by the `power`-th power of the average square of the gradient (0 SGD,
    ½ Adam) and has `momentum`. `trace` is tr(H), 4 Σ c (u² + v²), c being the mean square of a
    feature, and `trace_075`, `root_trace` and `trace_025` are tr(Diag(H)^p) for p = ¾, ½ and ¼: all
    of the Gauss–Newton part, which is H at a minimum. `error` is ‖w − w*‖ / ‖w*‖, `sparsity`
    (Σ|w|)² / Σ w², the number of weights if all are alike, and `loss` ½ mean (f − y)² without the
    noise.
    """

    name: ClassVar[str] = "diagonal-network"
    measures: ClassVar[tuple[str, ...]] = (
        "loss",
        "trace",
        "trace_075",
        "root_trace",
        "trace_025",
        "error",
        "sparsity",
    )
    dimension: int = 200
    samples: int = 60
    sparsity: int = 8
    start: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(dimension=self.dimension, samples=self.samples, sparsity=self.sparsity)
        if self.sparsity > self.dimension:
            raise UsageError(
                f"sparsity must be at most the dimension, {self.dimension}, not {self.sparsity}"
            )
        if not 0 < self.start < float("inf"):
            raise UsageError(f"start must be positive, not {self.start}")

    def problem(self, seeds: Sequence[int], device: str) -> Problem:
        """Return the regressions of all seeds."""
        import torch

        from diffprobe.foundations.devices import resolve_device
        from diffprobe.foundations.seeding import generator

        features, truths = [], []
        for seed in seeds:
            random = generator(seed, self.name)
            features.append(torch.randn(self.samples, self.dimension, generator=random))
            truth = torch.zeros(self.dimension)
            places = torch.randperm(self.dimension, generator=random)[: self.sparsity]
            signs = torch.randint(0, 2, (self.sparsity,), generator=random) * 2.0 - 1
            truth[places] = signs
            truths.append(truth)
        where = resolve_device(device)
        x, w = torch.stack(features).to(where), torch.stack(truths).to(where)
        return _Regression(x, w, self.start)


class _Regression(Problem):
    """Of S seeds: x (S, n, d), true weights w (S, d), theta (S, 2, d)."""

    def __init__(self, x: "Tensor", w: "Tensor", start: float) -> None:
        seeds, n, d = x.shape
        self.x, self.w, self.y = x, w, (x @ w[..., None])[..., 0]
        self.theta = x.new_full((seeds, 2, d), start)
        self.labels = (seeds, n)
        self.sign = x.new_tensor([[2.0], [-2.0]])
        self.square = x.square().mean(1)

    def weights(self) -> "Tensor":
        """Return u² − v²: (S, d)."""
        u, v = self.theta.unbind(1)
        return u.square() - v.square()

    def gradient(self, noise: "Tensor") -> "Tensor":
        """See `Problem.gradient`."""
        error = (self.x @ self.weights()[..., None])[..., 0] - self.y - noise
        slope = (error[:, None] @ self.x) / self.x.shape[1]
        return self.sign * self.theta * slope

    def numbers(self) -> "dict[str, Tensor]":
        """See `Problem.numbers`."""
        w, diagonal = self.weights(), 4 * self.square[:, None] * self.theta.square()
        error = (self.x @ w[..., None])[..., 0] - self.y
        return {
            "loss": error.square().mean(1) / 2,
            **{name: diagonal.pow(p).sum((1, 2)) for name, p in POWERS.items()},
            "error": (w - self.w).norm(dim=1) / self.w.norm(dim=1),
            "sparsity": w.abs().sum(1).square() / w.square().sum(1).clamp(min=1e-30),
        }
