"""Laws of loss curves: fitted to three noisy curves again and again, and asked for two others.

What an interval should contain is one reading of the loss of a new run, noise and all; what the
range of beta should contain is that which made the curves.
"""

from collections.abc import Iterator

import numpy as np

from coverage_parts.law_curves import TRUE, curve
from coverage_parts.table import Row
from diffprobe.laws.fitting import fit
from diffprobe.laws.law import LAWS
from diffprobe.laws.profile import profile
from diffprobe.laws.uncertainty import log_errors, uncertainty_of

FITTED = ("constant", "cosine", "two-stage")
ASKED = ("wsd", "lower")
NOISE = ((1e-3, 1.0), (1e-3, 30.0), (5e-3, 30.0))  # size, and steps over which neighbours agree


def rows(repeats: int) -> Iterator[Row]:
    """Yield the rows of the middle and last reading of each schedule, and of beta."""
    law = LAWS["multi-power"]
    for sigma, length in NOISE:
        covered = dict.fromkeys([*((n, at) for n in ASKED for at in ("half", "last")), "beta"], 0)
        for repeat in range(repeats):
            seeds = np.random.SeedSequence(repeat).generate_state(len(FITTED) + len(ASKED))
            made = [
                curve(name, sigma, length, int(seed))
                for name, seed in zip((*FITTED, *ASKED), seeds, strict=True)
            ]
            curves, asked = made[: len(FITTED)], made[len(FITTED) :]
            found = fit(law, curves)
            known = uncertainty_of(found, curves)
            for each in asked:
                half = known.half_width(found, each.schedule, each.steps)
                inside = np.abs(log_errors(found, each)) <= half
                covered[each.name, "half"] += int(inside[len(inside) // 2])
                covered[each.name, "last"] += int(inside[-1])
            low, high = profile(found, curves, known).range("beta")
            covered["beta"] += low <= TRUE["beta"] <= high
        world = f"noise {sigma:g} over {length:g} steps"
        for name in ASKED:
            for at in ("half", "last"):
                yield Row.counted(world, f"loss of {name}, {at}", covered[name, at], repeats)
        yield Row.counted(world, "beta, its profile", covered["beta"], repeats)
