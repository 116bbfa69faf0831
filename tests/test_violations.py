import pytest
import torch

from diffprobe.datasets import Grammar
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import violations


def test_words_planted_by_hand() -> None:
    #          ( ) [ ]   ( ] [ )     ( ( ( (     ( ) [ )
    words = [[0, 1, 2, 3], [0, 3, 2, 1], [0, 0, 0, 0], [0, 1, 2, 1]]
    found = violations.measure(
        DyckConfig(4, 2).build(), torch.tensor(words).repeat_interleave(10, 0)
    )
    assert (found.invalid.count, found.invalid.n) == (30, 40)
    kinds = {k: r.count for k, r in found.kinds.items()}
    assert kinds == {"wrong kind": 20, "left open": 10, "closes too early": 0}
    assert {d: r.count for d, r in found.distances.items()} == {1: 10, 2: 20}
    # Only the last word is repaired by one cell, and by either of two.
    assert found.paired.count == 10
    assert [(p.first, p.second, p.rate.count) for p in found.cells] == [(2, 3, 10)]
    assert [(p.first, p.second, p.rate.count) for p in found.symbols] == [(2, 1, 10)]
    assert sum(r.count for r in found.positions) == 10 + 2 * 20
    assert sum(p.rate.count for p in found.substitutions) == 50
    # "[" becomes "(" or ")" becomes "]", each as likely.
    late = violations.measure(
        DyckConfig(4, 2).build(), torch.tensor([[0, 1, 2, 1]]).repeat(2000, 1)
    )
    assert late.positions[0].count == late.positions[1].count == 0
    assert abs(late.positions[2].count - 1000) < 5 * 500**0.5
    assert {(p.first, p.second) for p in late.substitutions} == {(2, 0), (1, 3)}


def test_no_cell_of_an_odd_word_is_blamed_more_than_another() -> None:
    random = torch.Generator().manual_seed(0)
    words = torch.randint(2, (8000, 4), generator=random)
    found = violations.measure(ParityConfig(4).build(), words)
    for rate in found.positions:
        assert rate.contains(found.invalid.count / 4 / 8000)
    assert found.paired.count == 0


def test_a_copy_breaks_where_its_original_is() -> None:
    grammar = CopyConfig(6, 4).build()
    random = torch.Generator().manual_seed(0)
    words = grammar.sample(600, random)
    cell = torch.randint(3, (600,), generator=random)
    rows = torch.arange(600)
    words[rows, cell] = (words[rows, cell] + 1) % 4
    found = violations.measure(grammar, words)
    assert found.paired.count == 600
    counts = {(p.first, p.second): p.rate.count for p in found.cells}
    assert counts == {(i, i + 3): int((cell == i).sum()) for i in range(3)}
    symbols = {(p.first, p.second) for p in found.symbols}
    assert symbols == {((v + 1) % 4, v) for v in range(4)}


@pytest.mark.parametrize(
    "grammar",
    [ParityConfig(6).build(), ModularSumConfig(3, 5, 4).build(), DyckConfig(6, 2).build()],
    ids=lambda g: str(g.length),
)
def test_chance_is_at_its_exact_line(grammar: Grammar) -> None:
    for uniform, exact in ((True, grammar.uniform_rate()), (False, grammar.product_rate())):
        found = violations.chance(grammar, uniform=uniform)
        assert found.invalid.n == violations.DRAWN
        # Four standard errors.
        error = (exact * (1 - exact) / found.invalid.n) ** 0.5
        assert abs(1 - found.invalid.value - exact) < 4 * error
        assert sum(r.count for r in found.distances.values()) == found.invalid.count


def test_no_words() -> None:
    found = violations.measure(DyckConfig(4, 2).build(), torch.zeros(0, 4, dtype=torch.long))
    assert found.invalid.n == 0
    assert found.distances == {}
    assert found.substitutions == found.cells == ()


def test_rows_and_what_one_substitution_repairs() -> None:
    words = torch.tensor([[0, 1, 2, 1]] * 3 + [[0, 0, 0, 0]] * 2 + [[0, 1, 0, 1]] * 5)
    found = violations.measure(DyckConfig(4, 2).build(), words)
    assert (found.repairable.count, found.repairable.n) == (3, 5)
    frame = found.to_frame().set_index("kind")
    assert frame.loc["wrong kind", "count"] == 3
    assert frame.loc["left open", "value"] == 0.2
    none = violations.measure(DyckConfig(4, 2).build(), words[-5:])
    assert none.repairable.value is None
