"""The grammar `assembly`: each row the one above and one piece more."""

import itertools
from typing import Any

import pytest
import torch
from enumeration import check_by_enumeration
from torch import Tensor

from diffprobe.datasets.grammars.assembly import AssemblyConfig
from diffprobe.foundations.errors import UsageError

# Few enough cells and symbols to list every word: steps, columns, colours, plain, directed.
SMALL = [(1, 2, 2, 1, 0), (1, 3, 2, 1, 0), (1, 2, 3, 1, 0), (1, 2, 2, 0, 1), (1, 2, 2, 1, 1)]


def assemble(kind: AssemblyConfig) -> list[tuple[int, ...]]:
    """Every assembly, by placing pieces one after another in all ways that the rule allows."""
    shapes = [(s, 0) for s in range(kind.plain)]
    shapes += [(kind.plain + i, -1 + 2 * (i % 2)) for i in range(2 * kind.directed)]
    pieces = [
        (1 + shape * kind.colours + colour, colour, points)
        for shape, points in shapes
        for colour in range(kind.colours)
    ]
    colour_of = {symbol: colour for symbol, colour, _ in pieces}

    def grow(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        if len(rows) == kind.rows:
            return [tuple(itertools.chain(*rows))]
        found = []
        for column, (symbol, colour, points) in itertools.product(range(kind.columns), pieces):
            row = rows[-1]
            sides = [s for s in (-1, 1) if 0 <= column + s < kind.columns and row[column + s]]
            if row[column] or not sides or (points and points not in sides):
                continue
            if any(colour_of[row[column + s]] == colour for s in sides):
                continue
            found += grow([*rows, (*row[:column], symbol, *row[column + 1 :])])
        return found

    starts = [
        tuple(symbol if c == column else 0 for c in range(kind.columns))
        for column in range(kind.columns)
        for symbol, _, _ in pieces
    ]
    return sorted(word for start in starts for word in grow([start]))


@pytest.mark.parametrize("settings", SMALL)
def test_it_is_every_assembly_equally_likely(settings: tuple[int, ...]) -> None:
    kind = AssemblyConfig(*settings)
    check_by_enumeration(kind.build(), torch.tensor(assemble(kind)))


@pytest.mark.parametrize("settings", [*SMALL, (2, 3, 2, 1, 1), (2, 4, 3, 1, 0), (3, 4, 2, 0, 1)])
def test_words_number_as_said(settings: tuple[int, ...]) -> None:
    kind = AssemblyConfig(*settings)
    s, w, c, p, d = settings
    listed = assemble(kind)
    assert len(listed) == len(set(listed)) == kind.build().count()
    assert len(listed) == (w - s) * 2**s * c * (c - 1) ** s * (p + 2 * d) * (p + d) ** s


def test_posterior_and_nearest_words_are_those_of_all_words() -> None:
    kind = AssemblyConfig(2, 3, 3, 1, 1)
    grammar, words = kind.build(), torch.tensor(assemble(kind))
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(2, grammar.length, grammar.symbols, generator=random).double()
    totals = scores[:, torch.arange(grammar.length), words].sum(-1)
    torch.testing.assert_close(grammar.log_partition(scores), totals.logsumexp(1))
    one_hot = torch.nn.functional.one_hot(words, grammar.symbols).double()
    posterior = torch.einsum("bw,wlv->blv", totals.softmax(1), one_hot)
    torch.testing.assert_close(grammar.marginals(scores), posterior)
    other = torch.randint(grammar.symbols, (40, grammar.length), generator=random)
    distance = (other[:, None] != words).sum(-1)
    assert torch.equal(grammar.distance(other), distance.amin(1))
    nearest = grammar.nearest(other)
    assert grammar.contains(nearest).all()
    assert torch.equal((nearest != other).sum(1), distance.amin(1))
    blamed = torch.stack(
        [(words[d == d.min()] != word).any(0) for d, word in zip(distance, other, strict=True)]
    )
    assert torch.equal(grammar.suspects(other), blamed)


@pytest.mark.parametrize("settings", SMALL)
def test_a_word_is_valid_exactly_where_nothing_is_wrong(settings: tuple[int, ...]) -> None:
    kind = AssemblyConfig(*settings)
    grammar = kind.build()
    every = torch.tensor(list(itertools.product(range(grammar.symbols), repeat=grammar.length)))
    wrong = torch.stack(list(grammar.violations(every).values())).any(0)
    assert torch.equal(wrong, ~grammar.contains(every))


def test_one_wrong_symbol_anywhere_is_found() -> None:
    kind = AssemblyConfig(3, 5, 3, 1, 1)
    grammar = kind.build()
    words = grammar.sample(8, torch.Generator().manual_seed(1))
    for cell, symbol in itertools.product(range(grammar.length), range(grammar.symbols)):
        words[:, cell], before = symbol, words[:, cell].clone()
        wrong = torch.stack(list(grammar.violations(words).values())).any(0)
        assert torch.equal(wrong, ~grammar.contains(words))
        words[:, cell] = before


# Empty 0; a square, red 1 or blue 2; an arrow, to the left 3 or 4, to the right 5 or 6.
WRONG: list[tuple[str, tuple[str, ...], int]] = [
    ("wrong start", ("0000", "0100", "0120"), 0),
    ("wrong start", ("0120", "2120", "2121"), 0),
    ("piece vanished", ("0100", "0020", "0120"), 1),
    ("nothing added", ("0100", "0120", "0120"), 2),
    ("two added", ("0100", "2120", "2121"), 1),
    ("wrong place", ("0100", "0102", "0122"), 1),
    ("wrong colour", ("0100", "0110", "2110"), 1),
    ("wrong colour", ("0100", "0120", "2220"), 2),
    ("wrong kind", ("0100", "0120", "2320"), 2),
    ("wrong orientation", ("0100", "0160", "2160"), 1),
    ("wrong orientation", ("0300", "0320", "2520"), 2),
]


def grid(rows: tuple[str, ...]) -> Tensor:
    return torch.tensor([[int(symbol) for row in rows for symbol in row]])


@pytest.mark.parametrize(("kind", "rows", "step"), WRONG)
def test_faults_have_their_names_and_their_step(
    kind: str, rows: tuple[str, ...], step: int
) -> None:
    config = AssemblyConfig(2, 4)
    found = {name for name, wrong in config.violations(grid(rows)).items() if wrong}
    assert kind in found
    assert int(config.first_bad_step(grid(rows))) == step
    assert (f"first bad step {step}" in found) == (step > 0)
    assert not config.build().contains(grid(rows))


def test_one_step_is_made_wrong_and_no_earlier_one() -> None:
    config = AssemblyConfig(4, 6)
    words = config.build().sample(400, torch.Generator().manual_seed(2))
    changed, step = config.with_outliers(words, torch.Generator().manual_seed(3))
    assert ((changed != words).sum(1) == 1).all()
    rows = (changed != words).unflatten(1, (5, 6)).any(-1)
    assert torch.equal(rows.long().argmax(1), step)
    assert torch.equal(config.first_bad_step(changed), step)
    assert step.bincount(minlength=5)[1:].min() > 60


def test_what_to_go_on_from_lacks_the_last_rows_alone() -> None:
    config = AssemblyConfig(2, 3)
    grammar = config.build()
    sets = config.conditions()
    assert list(sets) == ["next-1", "next-2"]
    for k, words in enumerate(sets.values(), start=1):
        rows = words.unflatten(1, (3, 3))
        assert (rows[:, -k:] == -1).all()
        assert (rows[:, :-k] >= 0).all()
        # Each can be gone on from.
        given = torch.nn.functional.one_hot(words.clamp(min=0), grammar.symbols).double().log()
        free = torch.where(words[..., None] < 0, 0.0, given)
        assert (grammar.log_partition(free) > -torch.inf).all()
    assert torch.equal(sets["next-1"][:, :3], sets["next-2"][:, :3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": 3}, "a row of 3 columns is too small for 3 steps, .* at least 4"),
        ({"colours": 1}, "differ in colour: colours must be at least 2"),
        ({"colours": 17}, "colours must be at most 16"),
        ({"plain": 0, "directed": 0}, r"plain \+ directed must be a positive integer, not 0"),
        ({"plain": -1}, "grammar.plain must be at least 0"),
        ({"steps": 0}, "steps must be a positive integer"),
        ({"steps": 70, "columns": 80}, "5,680 cells, more than the most, 4,096"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AssemblyConfig(**settings)
