"""The gap to a frontier: pools whose rates are known, members sharing the noise of their samples.

Sample i of a member is valid where a number of its own, or one that all members share, lies below
the member's rate.
"""

from collections.abc import Iterator

import torch

from coverage_parts.table import Row
from diffprobe.frontier import Curve, frontier
from diffprobe.frontier.envelope import octaves

BUDGETS = (2, 4, 8, 16)
SAMPLES = 400
# World -> the members' rates at the budgets.
POOLS = {
    "apart": ((0.3, 0.5, 0.6, 0.6), (0.1, 0.3, 0.7, 0.9), (0.2, 0.2, 0.2, 0.2)),
    "close": ((0.50, 0.55, 0.60, 0.62), (0.48, 0.56, 0.61, 0.63), (0.49, 0.54, 0.58, 0.62)),
}
SHARED = (0.0, 0.5)  # share of the samples whose number all members share


def rows(repeats: int) -> Iterator[Row]:
    """Yield a row of each pool and share: the gap of the last member, which is nowhere best."""
    weights = octaves(BUDGETS)
    for name, rates in POOLS.items():
        table = torch.tensor(rates, dtype=torch.float64)
        best = table.cummax(1).values.amax(0)
        truth = float(weights @ (best - table[-1]))
        for shared in SHARED:
            random = torch.Generator().manual_seed(0)
            covered = 0
            for _ in range(repeats):
                own = torch.rand(*table.shape, SAMPLES, generator=random)
                same = torch.rand(SAMPLES, generator=random)
                at = torch.where(torch.rand(SAMPLES, generator=random) < shared, same, own)
                valid = at < table[..., None]
                pool = [Curve(str(i), BUDGETS, each) for i, each in enumerate(valid)]
                covered += frontier(pool, BUDGETS).gaps[-1].reg.contains(truth)
            world = f"rates {name}, {shared:.0%} shared"
            yield Row.counted(world, "frontier, REG", covered, repeats)
