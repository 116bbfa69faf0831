import math

import torch

from diffprobe.evaluation.words.estimators import (
    total_variation,
)
from diffprobe.evaluation.words.pairs import cramers_v


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_intervals_of_single_pairs_and_of_the_bound_cover_the_truth() -> None:
    """Cramér's V of two cells, and p(A) − q(A) of the set that the first half chose."""
    joint = torch.tensor([[0.25, 0.05, 0.1], [0.05, 0.2, 0.05], [0.1, 0.05, 0.15]]).double()
    phi_square = (joint.square() / torch.outer(joint.sum(1), joint.sum(0))).sum() - 1
    truth = math.sqrt(float(phi_square) / 2)
    q = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2, 0.0, 0, 0, 0], dtype=torch.float64)
    v_covered, tv_covered, repeats = 0, 0, 800
    for seed in range(repeats):
        index = joint.flatten().multinomial(400, replacement=True, generator=seeded(seed))
        counts = torch.nn.functional.one_hot(torch.stack([index // 3, index % 3], 1), 3).double()
        pairs = torch.einsum("nia,njb->iajb", counts, counts) / 400
        _, low, high = cramers_v(pairs, 400)
        v_covered += bool(low[0, 1] <= truth <= high[0, 1])
        halves = torch.stack([torch.bincount(half, minlength=9) for half in index.chunk(2)])
        chosen = (halves[0] / 200 > q) | (q == 0)
        bound = float((joint.flatten() - q)[chosen].sum())
        tv_covered += total_variation(halves, q).contains(bound)
    assert 0.93 < v_covered / repeats < 0.97
    assert 0.93 < tv_covered / repeats < 0.97
