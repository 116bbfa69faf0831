import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffprobe.datasets import Automaton
from diffprobe.errors import UsageError


@st.composite
def automata(draw: st.DrawFn) -> Automaton:
    """Random layered automata with a random reading order that accept something."""
    length, states, symbols = (draw(st.integers(1, 4)) for _ in range(3))
    size = length * states * symbols
    cells = draw(st.lists(st.integers(-1, states - 1), min_size=size, max_size=size))
    accept = draw(st.lists(st.integers(0, states - 1), min_size=1, max_size=states))
    order = draw(st.permutations(range(length)))
    try:
        return Automaton(torch.tensor(cells).reshape(length, states, symbols), accept, order=order)
    except UsageError:  # an empty language
        return Automaton([[0] * symbols], [0], length=length, order=order)


def runs_to_acceptance(automaton: Automaton, word: tuple[int, ...]) -> bool:
    """Follow the table one symbol at a time."""
    state = automaton.start
    for step, cell in enumerate(automaton.order):
        state = int(automaton.table[step, state, word[cell]])
        if state == automaton.states:
            return False
    return state in automaton.accept


def enumerate_words(automaton: Automaton) -> Tensor:
    words = itertools.product(range(automaton.symbols), repeat=automaton.length)
    return torch.tensor([w for w in words if runs_to_acceptance(automaton, w)])


@settings(max_examples=60, deadline=None)
@given(automata(), st.integers(0, 2**31))
def test_everything_follows_from_enumeration(automaton: Automaton, seed: int) -> None:
    language = enumerate_words(automaton)
    assert automaton.count() == len(language)
    assert torch.equal(automaton.words(), language)

    random = torch.Generator().manual_seed(seed)
    shape = (3, automaton.length, automaton.symbols)
    scores = 3 * torch.randn(shape, generator=random, dtype=torch.float64)
    cells = torch.arange(automaton.length)
    totals = scores[:, cells, language].sum(-1)
    assert torch.allclose(automaton.log_partition(scores), totals.logsumexp(1), atol=1e-9)

    posterior = totals.softmax(1)
    one_hot = torch.nn.functional.one_hot(language, automaton.symbols).double()
    marginals = torch.einsum("bw,wlv->blv", posterior, one_hot)
    assert torch.allclose(automaton.marginals(scores), marginals, atol=1e-9)

    every = torch.tensor(list(itertools.product(range(automaton.symbols), repeat=automaton.length)))
    nearest = (every[:, None] != language[None]).sum(-1).amin(1)
    assert torch.equal(automaton.distance(every), nearest)


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
