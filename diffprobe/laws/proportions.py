"""Proportions of training data: from how each component's error falls, the shares that are best.

The error of component k after n samples of it, and what is expected of all, in proportions p of the
test, where a training has N samples in shares q:

    error_k(n) = A_k n^-alpha_k + B_k
    f(q) = sum_k p_k error_k(q_k N)

is least where p_k alpha_k A_k N^-alpha_k q_k^-(alpha_k + 1) is the same for all k: with one alpha,
q_k in proportion to (alpha p_k A_k)^(1 / (alpha + 1)).

How errors fall is fitted (`falling_errors`); the intervals of shares and of what they save are 95 %
of the same data drawn anew.

Reference:
    arXiv:2510.25108, on training in other proportions than the test's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.tables import Table
from diffprobe.laws.falling_errors import (
    ComponentFit,
    Point,
    error_after,
    estimate,
    fit_component,
)

Array = NDArray[float64]
SUM = 1e-6  # by which proportions may miss one


@dataclass(frozen=True, repr=False)
class Proportions(Table):
    """The shares that are best for a test.

    Attributes:
        components: How each one's error falls.
        test: Component -> its share of the test.
        shares: Component -> the best share of training.
        samples: N, of a whole training.
        error: Expected at the best shares.
        matched: Expected where training has the test's proportions.
        gain: 1 - error / matched, of the shares proposed.
    """

    components: list[ComponentFit]
    test: dict[str, float]
    shares: dict[str, Estimate]
    samples: float
    error: float
    matched: float
    gain: Estimate

    def rows(self) -> list[dict[str, float | str | None]]:
        """Return one row a component."""
        rows: list[dict[str, float | str | None]] = []
        for fit in self.components:
            row: dict[str, float | str | None] = {
                "component": fit.name,
                "test": self.test[fit.name],
            }
            told = {"share": self.shares[fit.name], "alpha": fit.alpha, "A": fit.A, "B": fit.B}
            for name, each in told.items():
                row |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
            rows.append(row)
        return rows


def propose(
    points: Sequence[Point], test: Mapping[str, float], samples: float | None = None, seed: int = 0
) -> Proportions:
    """Return the best shares of training for a test.

    Args:
        points: Of each component, with three different numbers of samples at least.
        test: Component -> its share of the test; they sum to one.
        samples: N, of the training that is planned, in the unit of the points; by default the sum
            of each component's most.
        seed: Of the data drawn anew.

    Raises:
        UsageError: If shares do not sum to one, components do not agree, points are too few, or no
            error falls.
    """
    names = list(dict.fromkeys(point.component for point in points))
    check_shares(test, names)
    fits = [fit_component(name, [p for p in points if p.component == name], seed) for name in names]
    n = samples if samples is not None else math.fsum(max(fit.samples) for fit in fits)
    if not 0 < n < math.inf:
        raise UsageError(f"the samples of a training must be a positive number, not {n:g}")
    p = np.array([test[name] for name in names])
    values = np.stack([fit.values for fit in fits])
    if not (values[:, 1] > 0).any():
        raise UsageError("no component's error falls with its samples: all shares are alike")
    best = best_shares(p, values, n)
    draws = min(len(fit.drawn) for fit in fits)
    drawn = (
        np.stack([fit.drawn[:draws] for fit in fits], 1) if draws else np.zeros((0, *values.shape))
    )
    shares, gains = best_shares(p, drawn, n), _gain(p, best, drawn, n)
    count = len(points)
    return Proportions(
        components=fits,
        test={name: test[name] for name in names},
        shares={
            name: estimate(float(best[k]), shares[:, k], count) for k, name in enumerate(names)
        },
        samples=n,
        error=float(p @ error_after(best * n, values)),
        matched=float(p @ error_after(p * n, values)),
        gain=estimate(float(_gain(p, best, values, n)), gains, count),
    )


def check_shares(test: Mapping[str, float], components: Sequence[str]) -> None:
    """Check that every component has a positive share, and that these sum to one.

    Raises:
        UsageError: If not.
    """
    for name in test:
        if name not in components:
            raise unknown_name("component", name, components)
    if missing := [name for name in components if name not in test]:
        raise UsageError(f"--test has no share of the component {missing[0]!r}")
    for name, share in test.items():
        if not 0 < share <= 1:
            raise UsageError(f"--test: the share of {name} is {share:g}, not above 0 and at most 1")
    if abs(math.fsum(test.values()) - 1) > SUM:
        told = " + ".join(f"{share:g}" for share in test.values())
        raise UsageError(
            f"--test: proportions sum to one, and {told} = {math.fsum(test.values()):g}"
        )


def best_shares(test: Array, values: Array, samples: float) -> Array:
    """Return the shares of the least expected error.

    Args:
        test: (K,) p.
        values: (..., K, 3) alpha, A and B.
        samples: N.

    Returns:
        (..., K); those of the test where no A is positive.

    >>> one = np.array([1.0, 1.0, 0.0])
    >>> best_shares(np.array([0.9, 0.1]), np.stack([one, one]), 100.0).round(3).tolist()
    [0.75, 0.25]
    """
    alpha, scale = values[..., 0], values[..., 1]
    with np.errstate(divide="ignore"):
        logs = np.log(test * alpha * scale) - alpha * math.log(samples)
    falls = np.asarray(np.isfinite(logs).any(-1))
    logs = np.where(falls[..., None], logs, 0.0)
    # The logarithm of the derivative that all have in common; their sum falls with it.
    low = logs.max(-1)
    high = (logs + (alpha + 1) * math.log(len(test))).max(-1)
    for _ in range(60):
        middle = (low + high) / 2
        total = np.exp((logs - middle[..., None]) / (alpha + 1)).sum(-1)
        low, high = np.where(total > 1, middle, low), np.where(total > 1, high, middle)
    shares = np.exp((logs - low[..., None]) / (alpha + 1))
    found: Array = np.where(falls[..., None], shares / shares.sum(-1, keepdims=True), test)
    return found


def _gain(test: Array, shares: Array, values: Array, samples: float) -> Array:
    """How much of the expected error shares save over those of the test: (...)."""
    proposed = error_after(shares * samples, values) @ test
    found: Array = 1 - proposed / (error_after(test * samples, values) @ test)
    return found
