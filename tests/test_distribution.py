import json
import math

import pytest
import torch
from populations import all_words, estimates, tilted, truths

from diffprobe.datasets import Automaton, Glyphs, Grammar, SymbolImages, WordList, hypercube
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.evaluation.words import distribution, divergence, walsh
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.records import plain

PARITY = hypercube(ParityConfig(6).build())

NO_DOUBLE_ONE = Automaton([[0, 1], [0, -1]], accept=[0, 1], length=5, weights=[[1, 2], [3, 1]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world(grammar: Grammar) -> SymbolImages:
    names = "0123456789"[: grammar.symbols]
    return SymbolImages(grammar, Glyphs.font(names), (1, grammar.length))


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
    "grammar", [ParityConfig(3).build(), NO_DOUBLE_ONE, DyckConfig(6, 2).build()]
)
def test_the_chance_to_collide_is_that_of_the_list(grammar: Grammar) -> None:
    p = grammar.probability(grammar.words())
    for draws in (2, 3):
        expected = float(p.pow(draws).sum())
        assert grammar.collision_probability(draws) == pytest.approx(expected, abs=1e-12)


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
    monkeypatch.setattr(divergence, "_with_plug_in", lambda found, *_: found)
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


def test_long_words_are_measured_without_listing_them() -> None:
    dataset = hypercube(ParityConfig(40).build())
    found = distribution.measure(dataset, dataset.grammar.sample(200, seeded()))
    assert found.walsh.subsets[1] == walsh.SUBSETS
    assert found.walsh.energy[-1].language == 1
    assert found.language.plug_in is None
    assert found.coverage.seen == 200
    assert found.coverage.words == 2**39
    assert found.entropy.value is None


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
def test_the_summary_is_json(grammar: Grammar) -> None:
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


def test_rows_are_the_numbers_of_each_part() -> None:
    found = distribution.measure(PARITY, PARITY.grammar.sample(500, seeded()))
    frame = found.to_frame().set_index("statistic")
    entropy = frame.loc["entropy of the valid words, nats"]
    assert (entropy["value"], entropy["floor_low"]) == (
        found.entropy.value,
        found.entropy.floor[0],
    )
    assert frame.loc["parity of all cells", "language"] == 1
    shares = found.shares.to_frame().set_index(["cell", "symbol"])
    assert len(shares) == 6 * 2
    assert shares.loc[(4, 1), "observed"] == found.shares.observed[4, 1]
    pairs = found.correlations.to_frame().set_index(["cell", "other"])
    assert len(pairs) == 6 * 5 / 2
    assert pairs.loc[(1, 3), "high"] == found.correlations.high[1, 3]
    assert found.walsh.to_frame()["value"].tolist() == [e.value for e in found.walsh.energy]


def test_the_same_seed_gives_the_same_numbers() -> None:
    words = PARITY.grammar.sample(100, seeded())
    first, second = (distribution.measure(PARITY, words, seed=4) for _ in range(2))
    assert plain(first.summary()) == plain(second.summary())


def test_too_few_words_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 50"):
        distribution.measure(PARITY, torch.zeros(49, 6, dtype=torch.long))
    with pytest.raises(UsageError, match="needs"):
        distribution.measure(PARITY, torch.zeros(60, 5, dtype=torch.long))
