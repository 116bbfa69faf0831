"""Proportions and recall: fits to noisy errors whose law is known, and shares of facts.

Two components, three errors at each of six numbers of samples; facts that a denoiser knows with a
probability of its own, each asked four times.
"""

from collections.abc import Iterator

import numpy as np
import torch

from coverage_parts.table import Row
from diffprobe.foundations.statistics import clustered
from diffprobe.laws.falling_errors import Point, error_after
from diffprobe.laws.proportions import best_shares, propose

TEST = {"text": 0.9, "facts": 0.1}
SAMPLES = np.geomspace(30, 3000, 6)
PLANNED = 6000.0
# Alpha, A and B of each component.
WORLDS = {
    "alike": ((1.0, 20.0, 0.05), (1.0, 20.0, 0.05)),
    "apart": ((0.5, 3.0, 0.05), (1.0, 20.0, 0.05)),
    "no floor": ((0.5, 3.0, 0.0), (0.7, 5.0, 0.0)),
}
NOISE = (0.02, 0.1)
FACTS, DRAWS = 200, 4


def rows(repeats: int) -> Iterator[Row]:
    """Yield the rows of alpha, the best share and the gain; and of recall."""
    p = np.array(list(TEST.values()))
    for name, truth in WORLDS.items():
        values = np.array(truth)
        best = best_shares(p, values, PLANNED)
        matched = float(p @ error_after(p * PLANNED, values))
        for noise in NOISE:
            covered = dict.fromkeys(("alpha", "share", "gain"), 0)
            for seed in range(repeats):
                found = propose(_points(values, noise, seed), TEST, PLANNED, seed)
                share, fit = found.shares["text"], found.components[0]
                q = np.array([each.value for each in found.shares.values()], float)
                gain = 1 - float(p @ error_after(q * PLANNED, values)) / matched
                covered["alpha"] += fit.alpha.contains(truth[0][0])
                covered["share"] += share.contains(float(best[0]))
                covered["gain"] += found.gain.contains(gain)
            world = f"{name}, noise {noise:g}"
            for number, count in covered.items():
                yield Row.counted(world, f"proportions, {number}", count, repeats)
    for mean in (0.05, 0.5):
        random = torch.Generator().manual_seed(0)
        covered_recall = 0
        for _ in range(repeats):
            # Most facts are known or not, and some now and then.
            known = torch.rand(FACTS, generator=random) < mean
            chance = torch.where(known, 0.95, 0.0)
            told = torch.rand(FACTS, DRAWS, generator=random) < chance[:, None]
            rate = clustered(told.sum(1), torch.full((FACTS,), DRAWS))
            covered_recall += rate.contains(0.95 * mean)
        yield Row.counted(f"{FACTS} facts, {mean:g} known", "recall", covered_recall, repeats)


def _points(values: np.ndarray, noise: float, seed: int) -> list[Point]:
    random = np.random.default_rng(seed)
    return [
        Point(name, float(n), float(error * np.exp(noise * random.standard_normal())))
        for name, each in zip(TEST, values, strict=True)
        for n, error in zip(SAMPLES, error_after(SAMPLES, each), strict=True)
        for _ in range(3)
    ]
