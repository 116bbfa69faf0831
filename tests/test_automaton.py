import itertools
import math

import pytest
import torch
from enumeration import check_by_enumeration
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from diffprobe.datasets import Automaton
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator as seeded


@st.composite
def automata(draw: st.DrawFn) -> Automaton:
    """Random layered automata with a random reading order that accept something, some weighted."""
    length, states, symbols = (draw(st.integers(1, 4)) for _ in range(3))
    size = length * states * symbols
    cells = draw(st.lists(st.integers(-1, states - 1), min_size=size, max_size=size))
    accept = draw(st.lists(st.integers(0, states - 1), min_size=1, max_size=states))
    order = draw(st.permutations(range(length)))
    shape = (length, states, symbols)
    weights = draw(st.none() | st.lists(st.floats(1e-3, 1e3), min_size=size, max_size=size))
    try:
        return Automaton(
            torch.tensor(cells).reshape(shape),
            accept,
            order=order,
            weights=None if weights is None else torch.tensor(weights).double().reshape(shape),
        )
    except UsageError:  # an empty language
        return Automaton([[0] * symbols], [0], length=length, order=order)


def weight_of(automaton: Automaton, word: tuple[int, ...]) -> float:
    """Follow the table one symbol at a time; 0 where it does not lead to acceptance."""
    state, total = automaton.start, 0.0
    for step, cell in enumerate(automaton.order):
        logs = automaton.log_weights[step]
        total += 0.0 if logs is None else float(logs[state, word[cell]])
        state = int(automaton.table[step, state, word[cell]])
        if state == automaton.states:
            return 0.0
    return math.exp(total) if state in automaton.accept else 0.0


def enumerate_words(automaton: Automaton) -> tuple[Tensor, Tensor]:
    words = itertools.product(range(automaton.symbols), repeat=automaton.length)
    weights = {w: weight_of(automaton, w) for w in words}
    valid = {w: weight for w, weight in weights.items() if weight > 0}
    return torch.tensor(list(valid)), torch.tensor(list(valid.values()), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(automata(), st.integers(0, 2**31))
def test_everything_follows_from_enumeration(automaton: Automaton, seed: int) -> None:
    check_by_enumeration(automaton, *enumerate_words(automaton), seed)


def test_a_dead_state_cannot_be_left() -> None:
    no_double_one = Automaton([[0, 1], [0, -1]], accept=[0, 1], length=5)
    assert no_double_one.count() == 13  # Fibonacci
    words = torch.tensor([[1, 0, 1, 0, 1], [1, 1, 0, 0, 0]])
    assert no_double_one.contains(words).tolist() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transitions": [[0, 1]], "accept": [0], "length": 2}, "transitions must lie in"),
        ({"transitions": [[0, 0]], "accept": [1], "length": 2}, "state 1 is outside"),
        ({"transitions": [[0, 0]], "accept": [0]}, "positive length"),
        ({"transitions": [[0, 0]], "accept": [0], "length": 0}, "positive length"),
        ({"transitions": [[0.5, 0]], "accept": [0], "length": 2}, "must be integers"),
        ({"transitions": [[-1, -1]], "accept": [0], "length": 2}, "language is empty"),
        (
            {"transitions": [[0, 0]], "accept": [0], "length": 2, "order": [0, 0]},
            "permutation",
        ),
        (
            {"transitions": torch.zeros(3, 1, 2, dtype=torch.long), "accept": [0], "length": 2},
            "hold 3 steps",
        ),
    ],
)
def test_malformed_tables_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Automaton(**arguments)


def test_weights_are_those_of_the_path() -> None:
    # After a 1 another 1 is three times as likely as a 0.
    sticky = Automaton([[0, 1], [0, 1]], [0, 1], length=3, weights=[[1, 1], [0.5, 1.5]])
    words = torch.tensor(list(itertools.product(range(2), repeat=3)))
    weights = torch.tensor([1, 1, 0.5, 1.5, 0.5, 0.5, 0.75, 2.25])
    check_by_enumeration(sticky, words, weights)
    # What leads to death needs no weight, and ones are no weights.
    plain = Automaton([[0, 1], [0, -1]], [0, 1], length=5, weights=[[1, 1], [1, 0]])
    assert not plain.weighted
    assert plain.count() == 13


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1, 1, 1]], r"weights have shape \(1, 3\), not \(1, 2\)"),
        ([[1, 0]], "weight 0, 1 is 0; weights are positive and finite"),
        ([[-2, 1]], "weight 0, 0 is -2"),
        ([[1, math.inf]], "weight 0, 1 is inf"),
        ([[1, math.nan]], "weight 0, 1 is nan"),
        ([[1], [1, 2]], "all rows of the same length"),
        ([["a", "b"]], "weights must be numbers"),
    ],
)
def test_bad_weights_are_refused(weights: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Automaton([[0, 0]], [0], length=2, weights=weights)


@settings(max_examples=60, deadline=None)
@given(automata(), st.integers(0, 2**31), st.integers(1, 5))
def test_walking_draws_what_the_recursion_draws(automaton: Automaton, seed: int, n: int) -> None:
    """Word for word: what was sampled before the walk is what it was."""
    wanted = Grammar.sample(automaton, n, seeded(seed, "words"))
    assert torch.equal(automaton.sample(n, seeded(seed, "words")), wanted)


def test_walking_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all rows fit at once, they are drawn as the recursion draws them in its chunks."""
    automaton = ParityConfig(5).build()
    for module in ("automaton", "grammar"):
        monkeypatch.setattr(f"diffprobe.datasets.inference.{module}.CHUNK_ELEMENTS", 3 * 5 * 2 * 2)
    wanted = Grammar.sample(automaton, 8, seeded(0, "words"))
    assert torch.equal(automaton.sample(8, seeded(0, "words")), wanted)
    assert automaton.sample(0, seeded(0, "words")).shape == (0, 5)


@settings(max_examples=60, deadline=None)
@given(automata(), st.integers(0, 2**31), st.integers(1, 5))
def test_each_generator_draws_valid_words_of_its_own(
    automaton: Automaton, seed: int, n: int
) -> None:
    together = automaton.sample_each(n, [seeded(seed, "words", k) for k in range(3)])
    assert automaton.contains(together.flatten(0, 1)).all()
    for k, words in enumerate(together):
        assert torch.equal(words, automaton.sample_each(n, [seeded(seed, "words", k)])[0])


@pytest.mark.parametrize("weights", [None, [[1.0, 3.0, 1.0], [2.0, 1.0, 5.0]]])
def test_words_of_each_generator_have_their_probabilities(weights: list | None) -> None:
    """A third symbol that dies in one state; cells read backwards."""
    automaton = Automaton([[0, 1, -1], [1, 0, 1]], [0], length=3, order=[2, 1, 0], weights=weights)
    words = automaton.words()
    n = 20_000
    drawn = automaton.sample_each(n, [seeded(0, "words", k) for k in range(2)])
    for each in drawn:
        counts = (each[:, None] == words).all(-1).sum(0)
        assert counts.sum() == n
        assert chisquare(counts, n * automaton.probability(words)).pvalue > 1e-3


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_a_share_lead_to_no_dead_word(
    number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    automaton = Automaton([[-1, 0, 1, -1], [0, -1, 0, 1]], [0], length=7, weights=[[3.0] * 4] * 2)
    monkeypatch.setattr(
        torch, "rand", lambda shape, dtype, **_: torch.full(shape, number, dtype=dtype)
    )
    assert automaton.contains(automaton.sample_each(2, [seeded(0, "words")])[0]).all()
