import itertools
import math

import pytest
import torch

from diffprobe.evaluation.words.estimators import (
    WordStatistic,
    effective_words,
    expected_distinct,
    relative_entropy,
    spread,
    squared_distance,
    total_variation,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_squared_distances_are_unbiased_and_their_pairs_are_those_of_the_definition() -> None:
    """U is the mean of <phi_i - mu, phi_j - mu> over pairs; so is tr(Sigma²), over four."""
    phi = torch.randn(9, 3, generator=seeded(), dtype=torch.float64) + 0.4
    mu = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    centred = phi - mu
    pairs = [float(centred[i] @ centred[j]) for i, j in itertools.permutations(range(9), 2)]
    found = squared_distance(
        centred @ centred.mean(0), float(centred.square().sum(1).mean()), 1.0, 0.0, 1.0
    )
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    quadruples = [
        float((phi[a] - phi[b]) @ (phi[c] - phi[d])) ** 2 / 4
        for a, b, c, d in itertools.permutations(range(9), 4)
    ]
    assert spread(phi @ phi.T) == pytest.approx(sum(quadruples) / len(quadruples))


@pytest.mark.parametrize("p", [[0.25] * 4, [0.4, 0.3, 0.2, 0.1], [0.5, 0.5, 0.0, 0.0]])
def test_entropy_and_effective_words_approach_the_truth(p: list[float]) -> None:
    probability = torch.tensor(p, dtype=torch.float64)
    counts = (100_000 * probability).long()
    counts = counts[counts > 0]
    found = relative_entropy(counts, torch.full(counts.shape, 0.25).log(), None)
    known = probability[probability > 0]
    assert found.value == pytest.approx(float((known * (4 * known).log()).sum()), abs=1e-4)
    words = effective_words(counts, 4, 0.25, 1 / 16)
    assert words.value == pytest.approx(1 / float(known @ known), abs=1e-3)


def test_too_few_samples_bound_the_entropy_and_do_not_tell_it() -> None:
    found = relative_entropy(torch.ones(40), torch.full((40,), -math.log(1000)), 0.0)
    assert found.value is None
    assert found.low == 0
    assert found.high >= math.log(1000 / 40)
    nothing = effective_words(torch.ones(30), 10**6, 1e-6, 1e-12)
    assert nothing.value is None
    # No pair among 435 is equal: Poisson's rule of three, 3.84 by the score.
    assert nothing.low == pytest.approx(435 / 3.84, rel=0.1)
    assert nothing.high == math.inf


def test_total_variation_counts_one_half_in_the_set_of_the_other() -> None:
    halves = torch.tensor([[6, 2, 0, 2], [5, 1, 3, 1]])
    reference = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    found = total_variation(halves, reference)
    # The first half has word 0 too often; word 3 is impossible.
    assert found.value == pytest.approx((5 + 1) / 10 - 0.5)
    assert found.n == 10


def test_distinct_words_of_exact_sampling() -> None:
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    mean, _ = expected_distinct(q, torch.ones(3), 2)
    assert mean == pytest.approx(3 - (0.25 + 0.49 + 0.64))
    for n in (20, 60, 200):
        draws = torch.randint(64, (4000, n), generator=seeded(n))
        seen = torch.zeros(4000, 64).scatter_(1, draws, 1.0).sum(1)
        mean, deviation = expected_distinct(torch.tensor([1 / 64]), torch.tensor([64.0]), n)
        assert mean == pytest.approx(float(seen.mean()), abs=0.15)
        assert deviation == pytest.approx(float(seen.std()), rel=0.05)
    mean, deviation = expected_distinct(torch.tensor([1e-26]), torch.tensor([1e26]), 1000)
    assert mean == pytest.approx(1000)
    assert deviation < 0.1


def test_roots_and_words_of_an_estimate() -> None:
    estimate = WordStatistic(
        value=0.04, low=-0.01, high=0.09, n=1000, language=0.0, floor=(-0.01, 0.01)
    )
    root = estimate.root()
    assert (root.value, root.low, root.high) == pytest.approx((0.2, 0.0, 0.3))
    assert root.floor == pytest.approx((0.0, 0.1))
    assert str(root) == (
        "0.2 (95 % interval 0 to 0.3, n = 1,000; language 0; noise floor 0 to 0.1)"
    )
    unknown = WordStatistic(value=None, low=0.0, high=2.0, n=5)
    assert str(unknown).startswith("undefined (95 % interval 0")
