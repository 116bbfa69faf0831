"""Pairs of score distributions whose area under the ROC curve is known, for coverage."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[int, torch.Generator], Tensor]


def normal(mean: float, deviation: float = 1.0) -> Draw:
    return lambda n, random: mean + deviation * torch.randn(n, generator=random)


def lognormal(mean: float, deviation: float) -> Draw:
    return lambda n, random: normal(mean, deviation)(n, random).exp()


def cauchy(mean: float) -> Draw:
    """Without mean or variance: the ratio of two normal numbers."""
    return lambda n, random: mean + normal(0)(n, random) / normal(0)(n, random)


def rounded(mean: float) -> Draw:
    """Six values or so, shared by many."""
    return lambda n, random: normal(mean)(n, random).round()


def mostly_zero(share: float) -> Draw:
    """1 to 7 with the probability `share`, else 0: as the share of cells read differently."""

    def draw(n: int, random: torch.Generator) -> Tensor:
        size = torch.randint(1, 8, (n,), generator=random)
        return (torch.rand(n, generator=random) < share) * size.float()

    return draw


def _normal_area(shift: float, first: float = 1.0, second: float = 1.0) -> float:
    z = torch.tensor(shift / math.hypot(first, second), dtype=torch.float64)
    return float(torch.special.ndtr(z))


def _rounded_area(shift: float) -> float:
    edges = torch.arange(-12, 14).double() - 0.5
    p, q = (torch.special.ndtr(edges - mean).diff() for mean in (shift, 0.0))
    return float(p @ (q.cumsum(0) - q / 2))


def _mostly_zero_area(p: float, q: float) -> float:
    return (1 + p - q) / 2  # two that are not 0 are exchangeable


# Name -> the positives, the negatives, and the area.
POPULATIONS: dict[str, tuple[Draw, Draw, float]] = {
    **{f"normal, shift {s}": (normal(s), normal(0), _normal_area(s)) for s in (0, 0.3, 1, 2)},
    "normal, shift 0.3, deviations 3 and 1": (normal(0.3, 3), normal(0), _normal_area(0.3, 3, 1)),
    "normal, shift 1, deviations 1 and 3": (normal(1), normal(0, 3), _normal_area(1, 1, 3)),
    "lognormal, deviations 1.5 and 0.5": (
        lognormal(1, 1.5),
        lognormal(0, 0.5),
        _normal_area(1, 1.5, 0.5),
    ),
    "lognormal, shift 0.3": (lognormal(0.3, 1), lognormal(0, 1), _normal_area(0.3)),
    "Cauchy, shift 0": (cauchy(0), cauchy(0), 0.5),
    **{f"rounded, shift {s}": (rounded(s), rounded(0), _rounded_area(s)) for s in (0.3, 1, 2)},
    **{
        f"0 but for {p} and {q}": (mostly_zero(p), mostly_zero(q), _mostly_zero_area(p, q))
        for p, q in ((0.15, 0.1), (0.3, 0.1), (0.6, 0.05), (0.02, 0.02))
    },
}
