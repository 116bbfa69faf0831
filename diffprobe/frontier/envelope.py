"""The upper envelope of a pool by budget, and the area between it and each member.

A member of a pool is a curve: at numbers of function evaluations, which of n samples are legible
and obey the grammar. At a budget b it stands where it was evaluated most often within b; nothing
within b is a rate of 0. The envelope at b is the best point of the whole pool within b, so that it
is a running maximum, while members may fall. The gap of a member,

    REG = integral of (envelope - member) over log2 b

by the trapezoid rule over the budgets, is in rate × octaves.

The best of many noisy rates is higher than what it stands for. So the best point is chosen on one
half of the samples and its rate taken from the other, and the other way round. Given these choices
a REG is a mean over samples, which all members share by their noise. Where members are close the
one chosen is often not the best, and the envelope is told too low; that of the best of all samples
is told too high. So the 95 % interval reaches from the low end of the first to the high end of the
second, each the percentile bootstrap over samples.

Reference:
    REG: "Reasoning efficiency gap" of arXiv:2506.07104, there by tokens.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.statistics import Rate, wilson
from diffprobe.foundations.tables import Table

RESAMPLED = 2000
FEWEST = 20  # samples, ten in each half


@dataclass(frozen=True, eq=False)
class Curve:
    """A member of a pool.

    Attributes:
        name: What it is.
        evaluations: Of the denoiser for a sample, at each point, increasing.
        valid: (points, n) bool, which samples are legible and obey the grammar; sample i of all
            points and members began with the same noise.
    """

    name: str
    evaluations: tuple[float, ...]
    valid: Tensor

    def __post_init__(self) -> None:
        if self.valid.ndim != 2 or len(self.valid) != len(self.evaluations):
            raise UsageError(
                f"{self.name}: verdicts {tuple(self.valid.shape)} are not (points, n) of "
                f"{len(self.evaluations)} points"
            )
        if any(b <= a for a, b in itertools.pairwise(self.evaluations)):
            raise UsageError(
                f"{self.name}: evaluations must increase, and are {list(self.evaluations)}"
            )

    def rates(self) -> list[Rate]:
        """Return the rate of valid samples at each point."""
        return [wilson(int(row.sum()), len(row)) for row in self.valid]

    def within(self, budget: float) -> int | None:
        """Return the last point within a budget; None where there is none."""
        inside = [i for i, spent in enumerate(self.evaluations) if spent <= budget]
        return inside[-1] if inside else None

    def at(self, budgets: Sequence[float]) -> Tensor:
        """Return which samples are valid at each budget: (K, n) float64."""
        nothing = torch.zeros(self.valid.shape[1])
        points = [self.within(budget) for budget in budgets]
        rows = [nothing if point is None else self.valid[point] for point in points]
        return torch.stack([row.double() for row in rows])


@dataclass(frozen=True)
class Gap:
    """How far a curve is from the frontier.

    Attributes:
        name: Of the curve.
        reg: The area between, in rate × octaves.
        mean: The same over the octaves: the mean difference of the rates.
    """

    name: str
    reg: Estimate
    mean: Estimate

    def __str__(self) -> str:
        return f"{self.name}: {self.reg}, a mean difference of {self.mean}"


@dataclass(frozen=True, repr=False, eq=False)
class Frontier(Table):
    """A pool, its envelope, and the gap of each member to it.

    Attributes:
        pool: The members.
        budgets: Function evaluations, increasing.
        envelope: The rate at each budget, of points chosen on other samples.
        best: Which member and how many evaluations that is, as the two halves choose.
        gaps: Of each member, in the pool's order.
        optimum: The envelope of the Bayes optimum through the same samplers; None without it.
        to_optimum: The gap of the pool's envelope to that of the optimum.
        seed: Of the noise.
    """

    pool: tuple[Curve, ...]
    budgets: tuple[float, ...]
    envelope: tuple[Rate, ...]
    best: tuple[str, ...]
    gaps: tuple[Gap, ...]
    optimum: tuple[Rate, ...] | None
    to_optimum: Gap | None
    seed: int

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each point of each member, with the member's gap."""
        return [
            {
                "member": curve.name,
                "evaluations": spent,
                "valid": rate.value,
                "valid_low": rate.low,
                "valid_high": rate.high,
                "n": rate.n,
                "reg": gap.reg.value,
                "reg_low": gap.reg.low,
                "reg_high": gap.reg.high,
            }
            for curve, gap in zip(self.pool, self.gaps, strict=True)
            for spent, rate in zip(curve.evaluations, curve.rates(), strict=True)
        ]

    def summary(self) -> dict[str, Any]:
        """Return all of it, as JSON can hold it."""
        beyond = [] if self.optimum is None else [{"rate": rate} for rate in self.optimum]
        return {
            "seed": self.seed,
            "pool": [
                {"name": c.name, "evaluations": list(c.evaluations), "valid": c.rates()}
                for c in self.pool
            ],
            "budgets": list(self.budgets),
            "envelope": [
                {"rate": rate, "best": best}
                for rate, best in zip(self.envelope, self.best, strict=True)
            ],
            "gaps": [vars(gap) for gap in self.gaps],
            "optimum": beyond,
            "to_optimum": vars(self.to_optimum) if self.to_optimum is not None else None,
        }

    def lines(self) -> list[str]:
        """Return the pool, the envelope and the gaps, in words."""
        n = self.pool[0].valid.shape[1]
        spelled = ", ".join(f"{budget:g}" for budget in self.budgets)
        lines = [
            f"pool: {len(self.pool)} members, {n:,} samples each, seed {self.seed}; valid is "
            f"legible and grammatical; budgets of {spelled} evaluations",
            *(f"  {curve.name}" for curve in self.pool),
            "envelope, a running maximum, chosen on one half of the samples and told of the other:",
        ]
        for index, budget in enumerate(self.budgets):
            line = f"  {budget:g} evaluations: valid {self.envelope[index]}"
            if self.optimum is not None:
                line += f"; optimum {self.optimum[index].value or 0:.1%}"
            lines.append(f"{line}; {self.best[index]}")
        lines.append("REG, area under the envelope over log2 evaluations, in rate × octaves:")
        lines += [f"  {gap}" for gap in self.gaps]
        if self.to_optimum is not None:
            lines.append(str(self.to_optimum))
        return lines

    def __repr__(self) -> str:
        return f"<Frontier of {len(self.pool)} members at {len(self.budgets)} budgets>"


def frontier(
    pool: Sequence[Curve],
    budgets: Sequence[float],
    optimum: Sequence[Curve] = (),
    seed: int = 0,
) -> Frontier:
    """Return the envelope of a pool, and the gap of each member.

    Args:
        pool: Its members.
        budgets: Function evaluations at which they are compared, two at least.
        optimum: The same of the Bayes optimum; its envelope is that of its own pool.
        seed: Of the noise that all began with; of the bootstrap, too.

    Raises:
        UsageError: If the pool is empty, there are too few budgets or samples, or members have
            other numbers of samples.
    """
    if not pool:
        raise UsageError("the pool is empty: a frontier needs at least one way to sample")
    known = check_budgets(budgets)
    sizes = {curve.valid.shape[1] for curve in (*pool, *optimum)}
    if len(sizes) > 1:
        raise UsageError(
            f"members of a pool need as many samples each, not {', '.join(map(str, sorted(sizes)))}"
        )
    check_samples(sizes.pop())
    weights = octaves(known)
    envelope, most, best = _envelope(pool, known)
    gaps = []
    for curve in pool:
        at = curve.at(known)
        gaps.append(_gap(curve.name, envelope - at, (envelope - at, most - at), weights, seed))
    beyond, to_optimum = None, None
    if optimum:
        beyond, furthest, _ = _envelope(optimum, known)
        ends = beyond - most, furthest - envelope
        to_optimum = _gap("the envelope to the optimum's", beyond - envelope, ends, weights, seed)
    return Frontier(
        tuple(pool),
        tuple(known),
        _rates(envelope),
        tuple(best),
        tuple(gaps),
        None if beyond is None else _rates(beyond),
        to_optimum,
        seed,
    )


def area_between(pool: Sequence[Curve], curve: Curve, budgets: Sequence[float]) -> float:
    """Return the area between the envelope of a pool and a curve that need not be in it."""
    known = check_budgets(budgets)
    envelope, _, _ = _envelope(pool, known)
    return float(octaves(known) @ (envelope - curve.at(known)).mean(1))


def check_budgets(budgets: Sequence[float]) -> list[float]:
    """Return different budgets in order; UsageError unless there are two, all positive."""
    known = sorted(set(budgets))
    if len(known) < 2 or known[0] <= 0:
        raise UsageError(
            "an area over budgets needs two of them at least, positive, not "
            f"{', '.join(f'{b:g}' for b in known) or 'none'}"
        )
    return known


def check_samples(n: int) -> None:
    """Raise UsageError where there are too few samples to choose by one half of them."""
    if n < FEWEST:
        raise UsageError(f"a frontier needs {FEWEST} samples of each member at least, not {n}")


def octaves(budgets: Sequence[float]) -> Tensor:
    """Return the trapezoid rule's weights over log2 of budgets: (K,), their sum the octaves."""
    steps = torch.tensor(budgets, dtype=torch.float64).log2().diff() / 2
    return torch.nn.functional.pad(steps, (1, 0)) + torch.nn.functional.pad(steps, (0, 1))


def _envelope(pool: Sequence[Curve], budgets: Sequence[float]) -> tuple[Tensor, Tensor, list[str]]:
    """Whether each sample is valid at the point that the other half chooses, and that all choose.

    Returns:
        (K, n) each, and which the halves choose.
    """
    n = pool[0].valid.shape[1]
    half = torch.arange(n) % 2 == 0
    found, most = torch.zeros(2, len(budgets), n, dtype=torch.float64)
    names = []
    for index, budget in enumerate(budgets):
        points = [
            (f"{curve.name}, {spent:g} evaluations", valid)
            for curve in pool
            for spent, valid in zip(curve.evaluations, curve.valid, strict=True)
            if spent <= budget
        ]
        if points:
            most[index] = max((valid for _, valid in points), key=lambda valid: int(valid.sum()))
        chosen: list[str] = []
        for told in (half, ~half):
            if points:
                # Of those alike the first, which is the cheapest of a member.
                name, valid = max(points, key=lambda each: int(each[1][~told].sum()))
                found[index, told] = valid[told].double()
                chosen.append(name)
        names.append(" or ".join(dict.fromkeys(chosen)) or "nothing within that")
    return found, most, names


def _rates(valid: Tensor) -> tuple[Rate, ...]:
    return tuple(wilson(int(row.sum()), len(row)) for row in valid)


def _gap(
    name: str, difference: Tensor, ends: tuple[Tensor, Tensor], weights: Tensor, seed: int
) -> Gap:
    """The area of a difference (K, n), with bootstraps of those that are too low and too high."""
    area = weights @ difference
    octaves = float(weights.sum())
    low, high = (bootstrap(weights @ end, seed)[side] for side, end in enumerate(ends))
    reg = Estimate(value=float(area.mean()), low=low, high=high, n=len(area))
    mean = Estimate(
        value=float(area.mean()) / octaves, low=low / octaves, high=high / octaves, n=len(area)
    )
    return Gap(name, reg, mean)


def bootstrap(values: Tensor, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of `values (n,)`, drawn again."""
    n = len(values)
    random = generator(seed, "bootstrap")
    means = [values[torch.randint(n, (n,), generator=random)].mean() for _ in range(RESAMPLED)]
    low, high = torch.stack(means).quantile(values.new_tensor([0.025, 0.975])).tolist()
    return low, high
