"""Completion of a matrix of low rank by two factors: what label noise prefers among the minima."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations._label_noise import LabelNoise, Problem

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MatrixFactorisation(LabelNoise):
    """A square matrix of low rank from some of its entries, as U Vᵀ, with noise on the entries.

    The matrix has `size` rows, rank `rank` and entries of variance 1; a share `seen` of the entries
    is trained on. U and V have `width` columns and start normal, `start` wide. Descent is that of
    the diagonal network. `trace` is tr(H), `root_trace` tr(Diag(H)^½), of the Gauss–Newton part,
    `error` the root mean square error at the entries that are not seen over that of zero, and
    `effective_rank` (Σ s)² / Σ s² of the singular values of U Vᵀ; `loss` as there.
    """

    name: ClassVar[str] = "matrix-factorisation"
    measures: ClassVar[tuple[str, ...]] = (
        "loss",
        "trace",
        "root_trace",
        "error",
        "effective_rank",
    )
    size: int = 20
    rank: int = 2
    width: int = 20
    seen: float = 0.5
    start: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(size=self.size, rank=self.rank, width=self.width)
        if self.rank > self.size:
            raise UsageError(f"rank must be at most the size, {self.size}, not {self.rank}")
        if not 0 < self.seen < 1:
            raise UsageError(f"seen must lie in (0, 1), not {self.seen}")
        if not 0 < self.start < float("inf"):
            raise UsageError(f"start must be positive, not {self.start}")

    def problem(self, seeds: Sequence[int], device: str) -> Problem:
        """Return the matrices of all seeds."""
        import torch

        from diffprobe.foundations.devices import resolve_device
        from diffprobe.foundations.seeding import generator

        truths, masks, starts = [], [], []
        seen = min(max(1, round(self.seen * self.size**2)), self.size**2 - 1)
        for seed in seeds:
            random = generator(seed, self.name)
            left, right = torch.randn(2, self.size, self.rank, generator=random)
            truths.append(left @ right.T / self.rank**0.5)
            mask = torch.zeros(self.size**2)
            mask[torch.randperm(self.size**2, generator=random)[:seen]] = 1
            masks.append(mask.reshape(self.size, self.size))
            starts.append(self.start * torch.randn(2, self.size, self.width, generator=random))
        where = resolve_device(device)
        truth, mask, start = (torch.stack(each).to(where) for each in (truths, masks, starts))
        return _Completion(truth, mask, start)


class _Completion(Problem):
    """Of S seeds: the matrix and what is seen of it (S, n, n), theta (S, 2, n, r)."""

    def __init__(self, truth: "Tensor", mask: "Tensor", start: "Tensor") -> None:
        self.truth, self.mask, self.theta = truth, mask, start.clone()
        self.labels = tuple(truth.shape)
        self.count = mask.sum((1, 2), keepdim=True)

    def gradient(self, noise: "Tensor") -> "Tensor":
        """See `Problem.gradient`."""
        import torch

        u, v = self.theta.unbind(1)
        error = self.mask * (u @ v.mT - self.truth - noise) / self.count
        return torch.stack([error @ v, error.mT @ u], 1)

    def numbers(self) -> "dict[str, Tensor]":
        """See `Problem.numbers`."""
        import torch

        u, v = self.theta.unbind(1)
        off = u @ v.mT - self.truth
        # Of U_ia that is the sum over what is seen of row i of V_ja², and of V likewise.
        squares = [self.mask @ v.square(), self.mask.mT @ u.square()]
        diagonal = torch.stack(squares, 1).flatten(1) / self.count[..., 0]
        unseen = 1 - self.mask
        values = torch.linalg.svdvals(u @ v.mT)
        return {
            "loss": (self.mask * off.square()).sum((1, 2)) / self.count[:, 0, 0] / 2,
            "trace": diagonal.sum(1),
            "root_trace": diagonal.sqrt().sum(1),
            "error": (
                (unseen * off.square()).sum((1, 2)) / (unseen * self.truth.square()).sum((1, 2))
            ).sqrt(),
            "effective_rank": values.sum(1).square() / values.square().sum(1).clamp(min=1e-30),
        }
