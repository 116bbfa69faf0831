"""The effective reuse rate: read off noisy curves whose E is a saturating form that is known.

One pass over 100 to 10,000 samples, points an eighth apart, and 500 samples seen up to 20 times.
"""

from collections.abc import Iterator

import numpy as np

from coverage_parts.table import Row
from diffprobe.laws.passes import Loss
from diffprobe.laws.reuse import effective_reuse
from diffprobe.laws.saturation import fit_saturation, saturating

R, UNIQUE = 6.0, 500.0
SEEN = np.geomspace(100, 10_000, 40)
PASSES = np.array([1.5, 2, 3, 4, 6, 8, 12, 20])
ASKED = (2.0, 8.0)
NOISE = (0.001, 0.004)  # of a loss that falls by 0.02 from a point to the next
SEEDS = (1, 5)


def losses(noise: float, seed: int) -> list[Loss]:
    """The losses of one seed."""
    random = np.random.default_rng(seed)
    worth = UNIQUE * saturating(PASSES, R)
    once = 1 + 3 * SEEN**-0.3 + noise * random.standard_normal(len(SEEN))
    again = 1 + 3 * worth**-0.3 + noise * random.standard_normal(len(worth))
    return [
        *(Loss(n, n, y, seed=seed) for n, y in zip(SEEN, once, strict=True)),
        *(Loss(k * UNIQUE, UNIQUE, y, seed=seed) for k, y in zip(PASSES, again, strict=True)),
    ]


def rows(repeats: int) -> Iterator[Row]:
    """Yield the rows of E at two K and of R, for each noise and number of seeds."""
    truth = dict(zip(ASKED, saturating(np.array(ASKED), R).tolist(), strict=True))
    for noise in NOISE:
        for seeds in SEEDS:
            covered = dict.fromkeys(ASKED, 0)
            told, ranges = dict.fromkeys(ASKED, 0), 0
            for repeat in range(repeats):
                made = [row for s in range(seeds) for row in losses(noise, repeat * seeds + s)]
                table = effective_reuse(made)
                for each in table.content:
                    if each.passes in truth and each.factor.low is not None:
                        told[each.passes] += 1
                        covered[each.passes] += each.factor.contains(truth[each.passes])
                (form,) = fit_saturation(table.content)
                low, high = form.r.low or 0.0, form.r.high or np.inf
                ranges += low <= R <= high
            world = f"noise {noise:g}, {seeds} seed{'s' if seeds > 1 else ''}"
            for k in ASKED:
                yield Row.counted(world, f"reuse, E({k:g})", covered[k], told[k], repeats)
            yield Row.counted(world, "reuse, R by its profile", ranges, repeats)
