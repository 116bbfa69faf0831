import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from populations import all_words, estimates, tilted, truths

from diffprobe.datasets import Automaton, Glyphs, Grammar, SymbolImages, WordList, hypercube
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain
from diffprobe.report import distribution, distribution_figures, walsh
from diffprobe.report.estimators import (
    Estimate,
    effective_words,
    expected_distinct,
    relative_entropy,
    spread,
    squared_distance,
    total_variation,
)
from diffprobe.report.pairs import cramers_v

PARITY = hypercube(ParityConfig(6).build())
NO_DOUBLE_ONE = Automaton([[0, 1], [0, -1]], accept=[0, 1], length=5, weights=[[1, 2], [3, 1]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world(grammar: Grammar) -> SymbolImages:
    names = "0123456789"[: grammar.symbols]
    return SymbolImages(grammar, Glyphs.font(names), (1, grammar.length))


# ---- exact truths --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grammar",
    [
        ParityConfig(4).build(),
        DyckConfig(6, 2).build(),
        ModularSumConfig(3, 3, 3).build(),
        NO_DOUBLE_ONE,
    ],
)
def test_pairs_of_the_language_are_those_of_the_list(grammar: Grammar) -> None:
    words = grammar.words()
    one_hot = torch.nn.functional.one_hot(words, grammar.symbols).double()
    expected = torch.einsum("w,wia,wjb->iajb", grammar.probability(words), one_hot, one_hot)
    torch.testing.assert_close(distribution.pair_marginals(grammar), expected)


@pytest.mark.parametrize(
    "grammar", [ParityConfig(4).build(), NO_DOUBLE_ONE, DyckConfig(6, 1).build()]
)
def test_the_transform_and_the_signed_recursion_are_sums_over_words(grammar: Grammar) -> None:
    words, length = grammar.words(), grammar.length
    p = grammar.probability(words)
    masks = all_words(ParityConfig(length).build())
    expected = torch.stack([p @ (1 - 2 * ((words * m).sum(1) % 2)).double() for m in masks])
    torch.testing.assert_close(walsh._exact(grammar, masks), expected)
    torch.testing.assert_close(walsh._every(grammar), expected)


@pytest.mark.parametrize(
    "grammar", [ParityConfig(3).build(), NO_DOUBLE_ONE, DyckConfig(6, 2).build()]
)
def test_the_chance_to_collide_is_that_of_the_list(grammar: Grammar) -> None:
    p = grammar.probability(grammar.words())
    for draws in (2, 3):
        expected = float(p.pow(draws).sum())
        assert grammar.collision_probability(draws) == pytest.approx(expected, abs=1e-12)


# ---- estimators ----------------------------------------------------------------------------------


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
    estimate = Estimate(0.04, -0.01, 0.09, 1000, 0.0, (-0.01, 0.01))
    root = estimate.root()
    assert (root.value, root.low, root.high) == pytest.approx((0.2, 0.0, 0.3))
    assert root.floor == pytest.approx((0.0, 0.1))
    assert str(root) == (
        "0.2 (95 % interval 0 to 0.3, n = 1,000; language 0; noise floor 0 to 0.1)"
    )
    assert str(Estimate(None, 0.0, 2.0, 5, None, None)).startswith("undefined (95 % interval 0")


# ---- coverage of the intervals -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "population"),
    [
        (ParityConfig(5).build(), "language"),
        (ParityConfig(5).build(), "tilted"),
        (DyckConfig(6, 1).build(), "tilted"),
        (ModularSumConfig(3, 3, 3).build(), "tilted"),
    ],
)
def test_intervals_cover_the_truth(
    grammar: Grammar, population: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "_with_plug_in", lambda found, *_: found)
    monkeypatch.setattr(distribution, "PAIRED", 256)
    words = all_words(grammar)
    listed = WordList(grammar.words(), grammar.symbols)  # the same language, sooner computed
    p = grammar.probability(words) if population == "language" else tilted(grammar, words)
    truth, dataset = truths(grammar, words, p), world(listed)
    covered: dict[str, int] = dict.fromkeys(truth, 0)
    repeats = 120
    for seed in range(repeats):
        drawn = words[p.multinomial(300, replacement=True, generator=seeded(seed))]
        found = estimates(distribution.measure(dataset, drawn, seed=seed))
        for name, value in truth.items():
            covered[name] += found[name].low - 1e-9 <= value <= found[name].high + 1e-9
    # Of each within 3.3 standard errors of 120 repeats; benchmarks/coverage.py has more.
    assert all(count / repeats > 0.95 - 0.066 for count in covered.values()), covered
    assert 0.93 < sum(covered.values()) / (repeats * len(covered)) < 0.98


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


def test_floors_hold_what_exact_samples_show() -> None:
    held = dict.fromkeys(("shares", "pairs", "language TV", "plug-in", "seen"), 0)
    repeats = 40
    grammar = ModularSumConfig(3, 4, 4).build()
    dataset = world(WordList(grammar.words(), 4))
    for seed in range(repeats):
        drawn = grammar.sample(120, seeded(seed))
        found = distribution.measure(dataset, drawn, seed=seed % 3)
        for name, each in (
            ("shares", found.shares.difference),
            ("pairs", found.correlations.difference),
            ("language TV", found.language.total_variation),
        ):
            held[name] += each.floor[0] <= each.value <= each.floor[1]
        _, low, high = found.language.plug_in_floor
        held["plug-in"] += low <= found.language.plug_in <= high
        held["seen"] += found.coverage.low <= found.coverage.seen <= found.coverage.high
    assert all(count / repeats > 0.86 for count in held.values()), held


# ---- the whole -----------------------------------------------------------------------------------


def test_a_local_generator_has_the_shares_and_nothing_else() -> None:
    random = seeded()
    dataset = world(DyckConfig(8, 1).build())
    shares = dataset.grammar.symbol_marginals()
    local = shares.multinomial(2000, replacement=True, generator=random).T
    exact = dataset.grammar.sample(2000, random)
    product, language = (distribution.measure(dataset, w) for w in (local, exact))
    for found in (product, language):
        assert found.shares.difference.low == 0
    assert product.correlations.captured.contains(0)
    assert language.correlations.captured.contains(1)
    assert product.correlations.difference.low > product.correlations.difference.floor[1]
    assert language.language.total_variation.contains(0)
    assert product.product.total_variation.contains(0)
    assert product.language.total_variation.low > 0.5
    expected = dataset.grammar.total_correlation()
    assert language.product.kl.contains(expected)
    assert language.product.kl.language == pytest.approx(expected)


def test_parity_shows_in_the_last_order_alone() -> None:
    words = PARITY.grammar.sample(1000, seeded())
    found = distribution.measure(PARITY, words)
    *lower, last = found.walsh.energy
    assert all(energy.contains(0) for energy in lower)
    assert last.value == 1
    assert (found.walsh.parity.value, found.walsh.parity.language) == (1, 1)
    assert found.walsh.subsets == (6, 15, 20, 15, 6, 1)
    assert found.correlations.captured.value is None
    flipped = words.clone()
    flipped[:250, 0] ^= 1
    assert distribution.measure(PARITY, flipped).walsh.parity.value == 0.5


def test_subsets_drawn_give_what_all_subsets_give(monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.randint(2, (300, 6), generator=seeded())
    every = walsh.measure(ParityConfig(6).build(), words)
    monkeypatch.setattr(walsh, "FULL", 5)
    drawn = walsh.measure(ParityConfig(6).build(), words)
    assert drawn.subsets == every.subsets
    for a, b in zip(every.energy, drawn.energy, strict=True):
        assert (a.value, a.low, a.high, a.language) == pytest.approx(
            (b.value, b.low, b.high, b.language)
        )


def test_long_words_are_measured_without_listing_them() -> None:
    dataset = hypercube(ParityConfig(40).build())
    found = distribution.measure(dataset, dataset.grammar.sample(200, seeded()))
    assert found.walsh.subsets[1] == walsh.SUBSETS
    assert found.walsh.energy[-1].language == 1
    assert found.language.plug_in is None
    assert found.coverage.seen == 200
    assert found.coverage.words == 2**39
    assert found.entropy.value is None


def test_recalling_the_training_set_leaves_the_rest_uncovered() -> None:
    dataset = world(DigitSumConfig().build())
    split = FiniteWords(dataset.grammar, 200, seed=1)
    recalled = distribution.measure(dataset, split.draw(0, 1000, seeded()), split)
    assert recalled.held_out.seen == 0
    assert recalled.held_out.low > 300
    assert recalled.held_out.words == 470
    assert recalled.effective_words.contains(200)
    assert recalled.effective_words.high < 670
    assert recalled.coverage.seen <= 200
    fair = distribution.measure(dataset, dataset.grammar.sample(1000, seeded(1)), split)
    assert fair.held_out.low <= fair.held_out.seen <= fair.held_out.high
    assert fair.effective_words.contains(670)


def test_weights_are_in_every_truth() -> None:
    grammar = WordList(torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0]]), 2, [1, 2, 5])
    found = distribution.measure(world(grammar), grammar.sample(3000, seeded()))
    p = torch.tensor([1, 2, 5]) / 8
    assert found.entropy.language == pytest.approx(float(torch.special.entr(p).sum()))
    assert found.entropy.contains(found.entropy.language)
    assert found.effective_words.language == pytest.approx(1 / float(p @ p))
    assert found.effective_words.contains(found.effective_words.language)
    assert found.language.kl.contains(0)
    assert found.language.total_variation.contains(0)


def test_no_valid_word_leaves_what_concerns_them_open() -> None:
    words = torch.tensor([1, 0, 0, 0, 0, 0]).expand(60, -1)
    found = distribution.measure(PARITY, words)
    assert found.language.possible.count == 0
    assert found.language.total_variation.value == 1
    assert found.entropy.value is None
    assert (found.entropy.low, found.entropy.high) == (0, pytest.approx(math.log(32)))
    assert (found.coverage.seen, found.coverage.expected) == (0, 0)


@pytest.mark.parametrize("grammar", [ParityConfig(4).build(), CopyConfig(4, 3).build()])
def test_the_summary_is_json_and_the_figure_is_drawn(grammar: Grammar, tmp_path: Path) -> None:
    dataset = world(grammar)
    split = FiniteWords(grammar, 3)
    found = distribution.measure(dataset, grammar.sample(100, seeded()), split)
    content = json.loads(json.dumps(plain(found.summary()), allow_nan=False))
    assert content["n"] == 100
    assert len(content["shares"]["observed"]) == 4
    assert content["held_out"]["words"] == grammar.count() - 3
    assert set(content["entropy"]) == {"value", "low", "high", "n", "language", "floor"}
    assert (content["walsh"] is None) == (grammar.symbols > 2)
    assert any("held-out words seen" in line for line in found.lines())
    distribution_figures.draw(found, tmp_path / "distribution", dataset.glyphs.names)
    assert (tmp_path / "distribution.png").stat().st_size > 10_000
    assert (tmp_path / "distribution.svg").exists()


def test_the_same_seed_gives_the_same_numbers() -> None:
    words = PARITY.grammar.sample(100, seeded())
    first, second = (distribution.measure(PARITY, words, seed=4) for _ in range(2))
    assert plain(first.summary()) == plain(second.summary())


def test_too_few_words_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 50"):
        distribution.measure(PARITY, torch.zeros(49, 6, dtype=torch.long))
    with pytest.raises(UsageError, match="needs"):
        distribution.measure(PARITY, torch.zeros(60, 5, dtype=torch.long))
