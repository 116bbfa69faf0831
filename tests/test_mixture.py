import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from enumeration import check_by_enumeration, close
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from diffprobe.config import to_toml
from diffprobe.datasets import Automaton, ContextFree, Corrupted, Grammar, Mixture, WordList
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.mixture import Component, MixtureConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.inference import overlapping
from diffprobe.datasets.inference.mixture import share_a_word
from diffprobe.foundations.errors import UsageError
from diffprobe.resolution import resolve

LENGTH, SYMBOLS = 3, 3
EVERY = torch.tensor(list(itertools.product(range(SYMBOLS), repeat=LENGTH)))


@st.composite
def word_lists(draw: st.DrawFn) -> WordList:
    places = draw(st.lists(st.integers(0, len(EVERY) - 1), min_size=1, max_size=8, unique=True))
    size = len(places)
    weights = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
    return WordList(EVERY[places], SYMBOLS, weights)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """Mixtures of lists and of automata, one of which may be a mixture itself."""
    automaton = Automaton([[0, 1, -1], [1, 0, 0]], [0], length=LENGTH)
    one = word_lists() | st.just(automaton)
    components: list[Grammar] = draw(st.lists(one, min_size=1, max_size=3))
    if draw(st.booleans()):
        components.append(Mixture([draw(word_lists()), automaton], [1, 2]))
    size = len(components)
    shares = draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
    return Mixture(components, shares)


def by_components(mixture: Mixture, words: Tensor) -> Tensor:
    """Return p(w) as its definition has it."""
    each = [grammar.probability(words) for grammar in mixture.components]
    return torch.stack(each, -1) @ mixture.shares


def valid_words(p: Tensor, every: Tensor) -> tuple[Tensor, Tensor]:
    return every[p > 0], p[p > 0]


@settings(max_examples=40, deadline=None)
@given(mixtures(), st.integers(0, 2**31))
def test_everything_follows_from_enumeration(mixture: Mixture, seed: int) -> None:
    p = by_components(mixture, EVERY)
    assert close(p.sum(), torch.tensor(1.0))
    check_by_enumeration(mixture, *valid_words(p, EVERY), seed)
    check_powers(mixture, p)


def check_powers(grammar: Grammar, p: Tensor, every: Tensor = EVERY) -> None:
    for draws in (2, 3):
        assert close(grammar.collision_probability(draws), p.pow(draws).sum())
    factors = torch.randn(
        2, grammar.length, grammar.symbols, generator=torch.Generator().manual_seed(0)
    ).double()
    products = factors[:, torch.arange(grammar.length), every].prod(-1)
    assert close(grammar.signed_sum(factors), products[:, p > 0].sum(1))
    costs = (every[:, None] != every[p > 0]).sum(-1)
    nearest = grammar.nearest(every)
    assert torch.equal((nearest != every).sum(1), costs.amin(1))
    assert grammar.contains(nearest).all()
    best = costs == costs.amin(1, keepdim=True)
    suspects = ((every[:, None] != every[p > 0]) & best[..., None]).any(1)
    assert torch.equal(grammar.suspects(every), suspects)


def with_larger_components(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Make components of more words than `limit` count as too large to list."""
    monkeypatch.setattr(overlapping, "LISTED", limit)


# Sums modulo 3: three languages of nine words each that share none.
RESIDUES = [
    Automaton([[(q + v) % 3 for v in range(3)] for q in range(3)], [r], length=LENGTH)
    for r in range(3)
]


def test_large_components_are_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with_larger_components(monkeypatch, 5)
    few = WordList(EVERY[[1, 2, 5]], SYMBOLS, [1, 2, 3])  # sums 1, 2 and 3
    mixture = Mixture([RESIDUES[0], few, RESIDUES[1]], [1, 1, 2])
    assert [language for _, language in mixture.whole] == [RESIDUES[0], RESIDUES[1]]
    assert mixture.words_apart.tolist() == EVERY[[2]].tolist()
    p = by_components(mixture, EVERY)
    assert mixture.count() == int((p > 0).sum()) == 19
    uniform = torch.einsum("w,wlv->lv", p, torch.nn.functional.one_hot(EVERY).double())
    assert close(mixture.symbol_marginals(), uniform)
    independent = uniform[torch.arange(LENGTH), EVERY].prod(1)
    assert close(mixture.product_rate(), independent[p > 0].sum())
    with pytest.raises(UsageError, match="the entropy of components that share words"):
        mixture.entropy()

    apart = Mixture([RESIDUES[0], WordList(EVERY[[2]], SYMBOLS), RESIDUES[1]], [1, 1, 2])
    p = by_components(apart, EVERY)
    check_by_enumeration(apart, *valid_words(p, EVERY))
    check_powers(apart, p)


def test_what_cannot_be_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with_larger_components(monkeypatch, 3)
    ends_in_zero = Automaton([[0, 1, 1], [0, 1, 1]], [0], length=LENGTH)
    both = Mixture([RESIDUES[0], ends_in_zero], [1, 1])
    with pytest.raises(UsageError, match=r"components 0 \(Automaton\) and 1 .* share words, and"):
        both.count()
    rules = ContextFree.parse('S -> "0" S | "1" S | "2" S | "0" | "1"', LENGTH, "012")
    other = Mixture([RESIDUES[0], rules], [1, 1])
    with pytest.raises(UsageError, match="it is not known whether components 0"):
        other.entropy()
    # What a denoiser needs is known all the same.
    p = by_components(other, EVERY)
    assert close(other.probability(EVERY), p)
    assert other.contains(EVERY).sum() == 21


def test_automata_that_share_no_word() -> None:
    for a, b in itertools.product(RESIDUES, repeat=2):
        common = a.contains(EVERY) & b.contains(EVERY)
        assert share_a_word(a, b) == bool(common.any())
    # States that both can reach but that no common word ends in.
    starts = [
        Automaton([[-1, 1], [1, 1]], [1], length=2),
        Automaton([[1, -1], [1, 1]], [1], length=2),
    ]
    assert not share_a_word(*starts)
    # Through a dead state nothing goes on.
    alive = Automaton([[0, 0]], [0], length=2)
    assert share_a_word(alive, starts[0])


def test_parity_of_either_kind_is_everything() -> None:
    """Too large to list: two languages of 2^39 words that share none."""
    odd = Automaton([[0, 1], [1, 0]], [1], length=40)
    even = ParityConfig(40).build()
    mixture = Mixture([even, odd], [3, 1])
    assert mixture.count() == 2**40
    entropy = 39 * math.log(2) - 0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert mixture.entropy() == pytest.approx(entropy, rel=1e-12)
    assert mixture.product_rate() == pytest.approx(1)
    assert mixture.collision_probability() == pytest.approx((0.75**2 + 0.25**2) / 2**39)


def test_samples_remember_their_component() -> None:
    mixture = Mixture([RESIDUES[0], WordList(EVERY[[0, 5]], SYMBOLS, [1, 3])], [1, 3])
    n = 6000
    words, component = mixture.sample_with_components(n, torch.Generator().manual_seed(0))
    assert RESIDUES[0].contains(words[component == 0]).all()
    assert mixture.components[1].contains(words[component == 1]).all()
    counts = component.bincount()
    assert chisquare(counts, n * mixture.shares).pvalue > 1e-3
    check_frequencies(words, mixture.probability(EVERY))
    check_frequencies(
        mixture.sample(n, torch.Generator().manual_seed(1)), by_components(mixture, EVERY)
    )


def check_frequencies(words: Tensor, p: Tensor, every: Tensor = EVERY) -> None:
    found = (words[:, None] == every).all(-1).sum(0)
    assert found[p == 0].sum() == 0
    assert chisquare(found[p > 0], len(words) * p[p > 0]).pvalue > 1e-3


@pytest.mark.parametrize(
    "grammar",
    [
        Mixture([RESIDUES[0], WordList(EVERY[[0, 5, 7]], SYMBOLS)], [1, 3]),
        Corrupted(WordList(EVERY[[0, 5, 7]], SYMBOLS, [1, 2, 3]), 0.4),
    ],
    ids=["mixture", "corrupted"],
)
def test_samples_of_the_posterior(grammar: Grammar) -> None:
    scores = torch.randn(LENGTH, SYMBOLS, generator=torch.Generator().manual_seed(3)).double()
    n = 6000
    words = grammar.sample(n, torch.Generator().manual_seed(4), scores=scores.expand(n, -1, -1))
    p = grammar.probability(EVERY) * scores[torch.arange(LENGTH), EVERY].sum(1).exp()
    check_frequencies(words, p / p.sum())


def test_a_word_breaks_the_rules_of_the_nearest_component() -> None:
    config = MixtureConfig((Component(1, DyckConfig(4)), Component(1, ParityConfig(4))))
    grammar = config.build()
    words = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1]])
    kinds = grammar.violations(words)
    assert set(kinds) == {
        "dyck: closes too early",
        "dyck: wrong kind",
        "dyck: left open",
        "parity: odd parity",
    }
    assert torch.equal(~torch.stack([*kinds.values()]).any(0), grammar.contains(words))
    nearest = [DyckConfig(4).build().distance(words), ParityConfig(4).build().distance(words)]
    by_dyck = nearest[0] <= nearest[1]
    assert kinds["dyck: left open"].tolist() == [False, False, True, False, False]
    assert torch.equal(kinds["parity: odd parity"], ~by_dyck & (words.sum(1) % 2 == 1))


def test_components_of_one_kind_share_the_names_of_violations() -> None:
    lists = [WordList(EVERY[[i]], SYMBOLS) for i in (0, 26)]
    kinds = Mixture(lists, [1, 1]).violations(EVERY)
    assert list(kinds) == ["distance 1", "distance 2", "distance 3"]
    distance = torch.minimum((EVERY != 0).sum(1), (EVERY != 2).sum(1))
    assert torch.equal(kinds["distance 1"], distance == 1)


TOML = """
[grammar]
name = "mixture"

[[grammar.components]]
share = 3

[grammar.components.grammar]
name = "parity"
length = 4

[[grammar.components]]

[grammar.components.grammar]
name = "word-list"
words = "0000\\n1111"
"""


def test_a_mixture_is_written_as_tables(tmp_path: Path) -> None:
    file = tmp_path / "mixture.toml"
    file.write_text(TOML)
    config = resolve(file=file)
    assert isinstance(config.grammar, MixtureConfig)
    grammar = config.grammar.build()
    assert grammar.count() == 8
    zeros = torch.zeros(1, 4, dtype=torch.long)
    assert grammar.probability(zeros).item() == pytest.approx(0.75 / 8 + 0.25 / 2)
    assert grammar.title == "mixture"
    file.write_text(to_toml(config))
    assert resolve(file=file) == config


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ((), "at least one component"),
        ((Component(1, ParityConfig(4)), Component(1, ParityConfig(5))), "component 1 .* 5 cells"),
    ],
)
def test_components_that_do_not_fit(components: Sequence[Component], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MixtureConfig(tuple(components)).build()


def test_a_share_must_be_positive() -> None:
    with pytest.raises(UsageError, match="share of a component must be positive, not 0"):
        Component(0.0)


# ---- corrupted languages ------------------------------------------------------------------------


def corrupted_by_hand(grammar: Grammar, rate: float, every: Tensor) -> Tensor:
    """Go over every valid word, every cell and every other symbol."""
    p = grammar.probability(every)
    place = {tuple(word): i for i, word in enumerate(every.tolist())}
    found = (1 - rate) * p
    for word, share in zip(every.tolist(), p.tolist(), strict=True):
        for cell, symbol in itertools.product(range(grammar.length), range(grammar.symbols)):
            if symbol != word[cell]:
                other = (*word[:cell], symbol, *word[cell + 1 :])
                found[place[other]] += rate * share / grammar.length / (grammar.symbols - 1)
    return found


@settings(max_examples=25, deadline=None)
@given(word_lists() | st.sampled_from(RESIDUES), st.floats(0.01, 1), st.integers(0, 2**31))
def test_a_wrong_cell_by_enumeration(grammar: Grammar, rate: float, seed: int) -> None:
    found = Corrupted(grammar, rate)
    p = corrupted_by_hand(grammar, rate, EVERY)
    assert close(p.sum(), torch.tensor(1.0))
    check_by_enumeration(found, *valid_words(p, EVERY), seed)
    check_powers(found, p)


def test_mixtures_and_wrong_cells_go_into_each_other() -> None:
    inner = Mixture([RESIDUES[0], WordList(EVERY[[1, 4]], SYMBOLS)], [1, 2])
    p = corrupted_by_hand(inner, 0.3, EVERY)
    check_by_enumeration(Corrupted(inner, 0.3), *valid_words(p, EVERY))
    mixed = Mixture([Corrupted(RESIDUES[1], 0.2), RESIDUES[2]], [1, 1])
    p = (corrupted_by_hand(RESIDUES[1], 0.2, EVERY) + RESIDUES[2].probability(EVERY)) / 2
    check_by_enumeration(mixed, *valid_words(p, EVERY))


def test_samples_have_one_wrong_cell_at_the_rate() -> None:
    grammar = Corrupted(WordList(EVERY[[0, 5, 7]], SYMBOLS, [1, 2, 3]), 0.6)
    words = grammar.sample(6000, torch.Generator().manual_seed(5))
    check_frequencies(words, corrupted_by_hand(grammar.grammar, 0.6, EVERY))


def test_a_long_corrupted_language_has_a_posterior_but_no_count() -> None:
    grammar = Corrupted(ParityConfig(20).build(), 0.5)
    odd = torch.zeros(1, 20, dtype=torch.long)
    odd[0, 3] = 1
    # Any of 20 cells may be the wrong one.
    assert grammar.probability(odd).item() == pytest.approx(0.5 / 2**19)
    with pytest.raises(UsageError, match="more than 65,536 words has no count"):
        grammar.count()


@pytest.mark.parametrize(
    ("grammar", "rate", "message"),
    [
        (ParityConfig(3).build(), 0.0, r"must lie in \(0, 1\]"),
        (ParityConfig(3).build(), 1.1, r"must lie in \(0, 1\]"),
        (WordList(torch.zeros(1, 2, dtype=torch.long)), 0.5, "has only one"),
    ],
)
def test_corruptions_that_cannot_be(grammar: Grammar, rate: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Corrupted(grammar, rate)
