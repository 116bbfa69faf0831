import itertools
import math

import pytest
import torch
from enumeration import check_by_enumeration

from diffprobe.datasets import Grammar
from diffprobe.datasets.grammars.coupled_parity import CoupledParityConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.errors import UsageError

EVERY = {n: torch.tensor(list(itertools.product(range(2), repeat=n))) for n in (1, 5, 6)}


def weights(words: torch.Tensor, coupling: float) -> torch.Tensor:
    signs = 1 - 2 * words.double()
    return (coupling * (signs[:, 1:] * signs[:, :-1]).sum(1)).exp()


@pytest.mark.parametrize("coupling", [0.4, -1.3])
@pytest.mark.parametrize("length", EVERY)
def test_words_weigh_as_their_neighbours_agree(length: int, coupling: float) -> None:
    every = EVERY[length]
    even = every[every.sum(1) % 2 == 0]
    grammar = CoupledParityConfig(length, coupling).build()
    check_by_enumeration(grammar, even, weights(even, coupling))
    assert torch.equal(grammar.violations(every)["odd parity"], ~grammar.contains(every))


def test_without_coupling_it_is_parity() -> None:
    grammar = CoupledParityConfig(6, 0.0).build()
    assert not grammar.weighted
    assert torch.equal(grammar.words(), ParityConfig(6).build().words())


@pytest.mark.parametrize("coupling", [0.0, 0.7, -0.7])
@pytest.mark.parametrize("length", [5, 6])
def test_a_free_chain_obeys_parity_as_often_as_said(length: int, coupling: float) -> None:
    every = EVERY[length]
    chain = weights(every, coupling)
    found = chain[every.sum(1) % 2 == 0].sum() / chain.sum()
    power = 0.0 if length % 2 else math.tanh(coupling) ** (length // 2)
    assert found == pytest.approx((1 + power) / 2, abs=1e-12)


@pytest.mark.parametrize("coupling", [math.nan, math.inf, -101.0])
def test_a_coupling_out_of_range_is_refused(coupling: float) -> None:
    with pytest.raises(UsageError, match=r"coupling must lie in \[-100, 100\], not"):
        CoupledParityConfig(4, coupling)
    assert CoupledParityConfig(8, 100.0).build().entropy() == pytest.approx(math.log(2))


# ---- what cells tell of each other --------------------------------------------------------------


@pytest.mark.parametrize("grammar", [CoupledParityConfig(5, 0.8).build(), DyckConfig(6, 2).build()])
def test_pair_information_is_that_of_all_words(grammar: Grammar) -> None:
    words = grammar.words()
    p = grammar.probability(words)
    one_hot = torch.nn.functional.one_hot(words, grammar.symbols).double()
    joint = torch.einsum("n,niv,nju->ijvu", p, one_hot, one_hot)
    own = torch.einsum("n,niv->iv", p, one_hot)
    cell_entropy = torch.special.entr(own).sum(-1)
    expected = cell_entropy[:, None] + cell_entropy - torch.special.entr(joint).sum((2, 3))
    found = grammar.pair_information()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.diagonal(), cell_entropy)
    steps = [float(found[i, i + 1]) for i in range(grammar.length - 1)]
    assert grammar.neighbour_nats() == pytest.approx(sum(steps) / len(steps))


def test_cells_of_parity_tell_nothing_of_each_other() -> None:
    information = ParityConfig(4).build().pair_information()
    torch.testing.assert_close(
        information, math.log(2) * torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0
    )
    assert ParityConfig(1).build().neighbour_nats() == 0
