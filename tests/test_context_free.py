import logging
import math

import pytest
import torch
from enumeration import check_by_enumeration
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffprobe.datasets import ContextFree
from diffprobe.datasets.inference.rules import parse_rules
from diffprobe.foundations.errors import UsageError

SYMBOLS = "SAB"


@st.composite
def rule_texts(draw: st.DrawFn) -> str:
    """Random rules over three symbols and two terminals, some empty, some weighted."""
    item = st.sampled_from([*SYMBOLS, '"a"', '"b"'])
    body = st.lists(item, min_size=0, max_size=3).map(lambda b: " ".join(b) or '""')
    # Something that ends, so that not all examples are refused for want of it.
    ending = st.sampled_from(['"a"', '"b"', '"a" "b"', '"b" A', "A B"])
    bodies = st.tuples(ending, st.lists(body, min_size=1, max_size=2)).map(
        lambda both: dict.fromkeys([both[0], *both[1]])
    )
    weight = st.sampled_from(["", "", "0.5 ", "3 ", "2e-2 "])
    return "\n".join(
        f"{name} -> {' | '.join(draw(weight) + body for body in draw(bodies))}" for name in SYMBOLS
    )


def derivations(text: str, length: int) -> dict[tuple[str, ...], list[float]]:
    """Return the weights of each word's derivation trees, by substituting leftmost symbols.

    Cut off at a number of steps that no finite derivation of so short a word needs.
    """
    rules = parse_rules(text).alternatives
    found: dict[tuple[str, ...], list[float]] = {}
    waiting: list[tuple[tuple[tuple[str, bool], ...], int, float]] = [((("S", False),), 0, 1.0)]
    while waiting:
        form, depth, weight = waiting.pop()
        letters = sum(terminal for _, terminal in form)
        if letters > length or depth > 14 or len(waiting) > 20_000:
            assume(letters > length)  # too deep to be sure: leave the example out
            continue
        first = next((i for i, (_, terminal) in enumerate(form) if not terminal), None)
        if first is None:
            if letters == length:
                word = tuple(name for name, _ in form)
                found.setdefault(word, []).append(weight)
            continue
        for rule in rules[form[first][0]]:
            items = tuple((i.name, i.terminal) for i in rule.items)
            form_after = form[:first] + items + form[first + 1 :]
            waiting.append((form_after, depth + 1, weight * rule.weight))
    return found


@settings(max_examples=300, deadline=None)
@given(rule_texts(), st.integers(1, 4), st.integers(0, 2**31))
def test_everything_follows_from_enumeration(text: str, length: int, seed: int) -> None:
    try:
        grammar = ContextFree.parse(text, length, alphabet="ab")
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
    if any(part in refusal for part in ("never ends", "never reached", "derives itself")):
        return  # endless derivations, or none
    if "derives the empty word" in refusal:
        return  # ambiguous at length 0
    words = derivations(text, length)
    if "language is empty" in refusal:
        assert not words
        return
    if refusal:
        shown = tuple(refusal.split("'")[1].split())
        assert len(words[shown]) >= 2
        return
    assert {len(weights) for weights in words.values()} == {1}
    assert grammar.proved_unambiguous
    listed = sorted((["ab".index(c) for c in word], w[0]) for word, w in words.items())
    weights = torch.tensor([w for _, w in listed], dtype=torch.float64)
    check_by_enumeration(grammar, torch.tensor([word for word, _ in listed]), weights, seed)


@settings(max_examples=300, deadline=None)
@given(rule_texts(), st.integers(1, 5))
def test_unambiguity_is_never_proved_of_ambiguous_rules(text: str, length: int) -> None:
    """Without the list of all words, which settles short ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffprobe.datasets.inference.ambiguity.LISTED", 0)
        patch.setattr("diffprobe.datasets.inference.ambiguity.DRAWN", 1)
        try:
            proved = ContextFree.parse(text, length, alphabet="ab").proved_unambiguous
        except UsageError:
            return
    if proved:
        assert {len(weights) for weights in derivations(text, length).values()} == {1}


def catalan(n: int) -> int:
    value = 1
    for k in range(n):
        value = value * 2 * (2 * k + 1) // (k + 2)
    return value


def test_counts_are_right_to_the_last_digit() -> None:
    for text in ('S -> "(" S ")" S | ""', 'S -> "" | A S\nA -> "(" S ")"'):
        for length in (2, 10, 64):
            assert ContextFree.parse(text, length).count() == catalan(length // 2)


def test_samples_are_uniform() -> None:
    grammar = ContextFree.parse('S -> "(" S ")" S | ""', 8)
    words = grammar.words()
    n = 14 * 300
    sample = grammar.sample(n, torch.Generator().manual_seed(0))
    index = (sample[:, None] == words[None]).all(-1).float().argmax(1)
    assert (sample == words[index]).all()
    counts = index.bincount(minlength=14)
    assert ((counts - 300).square() / 300).sum() < 13 + 5 * 26**0.5


PROVED = {
    "brackets": 'S -> "(" S ")" S | ""',
    "brackets from the right": 'S -> S "(" S ")" | ""',
    "brackets of two kinds": 'S -> "" | P S\nP -> "(" S ")" | "[" S "]"',
    "palindromes": 'S -> "a" S "a" | "b" S "b" | "a" | "b" | ""',
    "palindromes in brackets": """
        S -> "[" S "]" S | "(" P ")" S | ""
        P -> "a" P "a" | "b" P "b" | "a" | "b" | ""
    """,
    "round in square ones": """
        S -> R S | "[" T "]" S | ""
        R -> "(" S ")"
        T -> "(" T ")" T | ""
    """,
    "sums of strokes": 'S -> "|" S "|" | "+" T\nT -> "|" T "|" | "="',
    "expressions": """
        E -> E "+" T | E "-" T | T
        T -> T "*" F | F
        F -> "(" E ")" | "-" F | "x" | "y"
    """,
    "determined from the right": 'S -> "a" S | "b" S | T\nT -> "a" T "x" | "b" T "y" | "c"',
    "told apart by their length": """
        S -> A | B
        A -> "a" A "b" | "a" "b"
        B -> "a" B "b" "b" | "a" "b" "b"
    """,
}


@pytest.mark.parametrize("text", PROVED.values(), ids=PROVED)
def test_unambiguity_is_proved_at_any_length(
    text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffprobe.datasets.inference.ambiguity._draw_ambiguous_word", pytest.fail)
    length = 63 if text in (PROVED["expressions"], PROVED["told apart by their length"]) else 64
    assert ContextFree.parse(text, length).proved_unambiguous
    assert not caplog.records


def test_what_is_not_proved_is_said(caplog: pytest.LogCaptureFixture) -> None:
    # Palindromes, and those with a fault in the middle: alike in every cell, and their middle
    # cannot be seen from either side.
    text = """
        S -> P | Q
        P -> "a" P "a" | "b" P "b" | "a" "a" | "b" "b"
        Q -> "a" Q "a" | "b" Q "b" | "a" "b" | "b" "a"
    """
    with caplog.at_level(logging.WARNING, "diffprobe"):
        grammar = ContextFree.parse(text, 40)
    assert not grammar.proved_unambiguous
    assert "not proved that the rules are unambiguous at length 40" in caplog.text


def test_weights_are_those_of_the_derivation() -> None:
    # A pair is closed at once with probability 1/4 of what it would be.
    text = 'S -> P S | ""\nP -> 0.25 "(" ")" | "(" Q ")"\nQ -> P S'
    grammar = ContextFree.parse(text, 6)
    words = grammar.words()
    #                   ((()))  (()())   (())()   ()(())   ()()()
    flat = torch.tensor([0.25, 0.25**2, 0.25**2, 0.25**2, 0.25**3])
    check_by_enumeration(grammar, words, flat)
    # Empty words carry theirs along.
    grammar = ContextFree.parse('S -> A "x" A | 5 "a" "a"\nA -> 3 "" | 7 "a"', 2)
    check_by_enumeration(grammar, torch.tensor([[0, 1], [1, 0], [1, 1]]), torch.tensor([21, 21, 5]))


def test_weights_hide_no_ambiguous_word() -> None:
    """A word with two derivations among many, and hardly ever drawn."""
    text = """
    S -> D D D D D D D D D D D T
    D -> 1e9 "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
    T -> L | R | "0" D D D D D
    L -> D D D D D "1"
    R -> "1" D D D D D
    """
    with pytest.raises(UsageError, match="ambiguous: the word"):
        ContextFree.parse(text, 17)


def test_left_recursion_is_no_problem() -> None:
    left = ContextFree.parse('S -> S "a" | S "b" | "a"', 6)
    right = ContextFree.parse('S -> "a" | "a" T\nT -> "a" T | "b" T | "a" | "b"', 6)
    assert torch.equal(left.words(), right.words())
    assert left.count() == 32


def test_the_format() -> None:
    text = """
    # a comment, and an empty line

    sentence -> subject verb   # another comment
      | sentence2
    sentence2 ::= 'it' "rains"
    subject → "he" | "she"
    verb -> "runs" | "can" "run"
    """
    grammar = ContextFree.parse(text, 2)
    assert grammar.names == ("it", "rains", "he", "she", "runs", "can", "run")
    shown = {" ".join(grammar.names[s] for s in w) for w in grammar.words().tolist()}
    assert shown == {"it rains", "he runs", "she runs"}
    assert ContextFree.parse(text, 3).count() == 2


NLTK = """
# As nltk.PCFG.fromstring reads it. A comment does not go on: \\
%start S
NP/GAP -> N [0.4] | D N [0.6]
S -> NP/GAP VP [1.0]
VP -> 'sees' NP/GAP [.7] | \\ \t
      'sleeps' ADV [0.3]
D -> "the" [0.995]
N -> 'cat' [0.25] | 'dog' [0.75]
ADV -> 'well' [0.5] | [0.5]
"""


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(2, 2), (3, 8), (4, 10), (5, 4)]))
def test_probabilities_in_the_notation_of_nltk(case: tuple[int, int]) -> None:
    length, count = case
    found = {word: math.fsum(weights) for word, weights in derivations(NLTK, length).items()}
    grammar = ContextFree.parse(NLTK, length)
    assert grammar.names[:3] == ("sees", "sleeps", "the")
    words = sorted([grammar.names.index(name) for name in word] for word in found)
    weights = [found[tuple(grammar.names[s] for s in word)] for word in words]
    assert len(words) == count
    check_by_enumeration(grammar, torch.tensor(words), torch.tensor(weights, dtype=torch.float64))


def test_the_alphabet_sets_the_order() -> None:
    grammar = ContextFree.parse('S -> "b" "a"', 2, alphabet="abc")
    assert grammar.symbols == 3
    assert grammar.words().tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rules in the text"),
        ("# nothing", "no rules in the text"),
        ('S "a"', "line 1, column 3: '->' is missing after S"),
        ("S", "line 1, column 2: '->' is missing after S"),
        ('"a" -> S', 'line 1, column 1: a rule begins with the name of a symbol, not with "a"'),
        ('S -> "a', "line 1, column 6: this quote is not closed"),
        ('S -> "a"\nT -> $', "line 2, column 6: '$' is no rule"),
        ('S -> "a" | | "b"', "line 1, column 12: an alternative is missing"),
        ('S -> "a" |', "line 1, column 11: an alternative is missing"),
        ("S ->", "line 1, column 5: an alternative is missing"),
        ('S -> "a" -> "b"', "line 1, column 10: a second '->'"),
        ('| "a"', "line 1, column 1: there is no rule yet"),
        ('S -> "a" 2', "line 1, column 10: a weight stands at the beginning"),
        ('S -> "a" | 2 3 "b"', "line 1, column 14: a weight stands at the beginning"),
        ('S -> "a"\n | 0.0 "b"', "line 2, column 4: a weight is positive and finite, not 0.0"),
        ('S -> -1 "a"', "line 1, column 6: a weight is positive and finite, not -1"),
        ('S -> 1e999 "a"', "line 1, column 6: a weight is positive and finite, not 1e999"),
        ('S -> 2x "a"', "line 1, column 6: '2' is no rule"),
        ("S -> 2", "line 1, column 7: an alternative is missing"),
        ('Start -> "a" Strat\nStrat2 -> "b"', "line 1, column 14: unknown symbol 'Strat'"),
        ('S -> a "b"', "line 1, column 6: unknown symbol 'a': choose from S; if it is a ter"),
        ("S = a S b", "column 3: a rule is written with '->', not '=', as in S -> \"(\" S"),
        ('S := "a"', "line 1, column 3: a rule is written with '->', not ':='"),
        ("S ::= a S b", "unknown symbol 'a': choose from S; if it is a terminal, write \"a\" in"),
        ('S -> "a" S | ε', "unknown symbol 'ε': choose from S; the empty word is written \"\""),
        ('<S> ::= "a"', "line 1, column 1: a symbol's name stands without < >: S"),
        ('S ::= "a" S*', "column 12: '*' is no rule: terminals stand in quotes, and all"),
        ('S -> "a"\nT -> "b"', "line 2, column 1: the symbol T is never reached from S"),
        ('S -> "a" S', "line 1, column 1: the symbol S never ends"),
        ('S -> A | "a"\nA -> A "b"', "line 2, column 1: the symbol A never ends"),
        ('S -> A | "a"\nA -> B\nB -> A | "b"', "the symbol B derives itself"),
        ('S -> S E | "a"\nE -> ""', "symbol S derives itself"),
        ('S -> "a" | E\nE -> "" | F\nF -> ""', "E derives the empty word '' in two ways"),
        ('S -> "x" | "z"', "line 1, column 12: the terminal 'z' is not among the symbols x y"),
        ('S -> "a" [0.5] | "b" [0.4]', "line 1, column 1: the probabilities of S add up to 0.9"),
        ('S -> "a" T [1.0]\nT -> "b"', "line 2, column 1: 1 of the 1 alternatives of T have no"),
        ('S -> 2 "a" [0.5] | "b" [0.5]', "line 1, column 12: an alternative has a weight or a"),
        ('S -> "a" [0.5] "b" [0.5]', "column 16: a probability ends an alternative, and | is"),
        ('S -> "a" [1.0] | "b" [0.0]', "column 22: a weight is positive and finite, not 0.0"),
        ('S -> "a" [half]', "line 1, column 10: '[' is no rule"),
        ('%start T\nS -> "a"', "unknown symbol in %start 'T': choose from S"),
        ('S -> "x" "y"', "derive no word of length 3"),
        ('S -> "x" S | S "y" | "x"', "ambiguous: the word 'x x y' has two derivations"),
        ('S -> A A A\nA -> "x" | B\nB -> "x"', "ambiguous: the word 'x x x' has two"),
    ],
)
def test_bad_rules_are_refused(text: str, message: str) -> None:
    alphabet = "xy" if '"x"' in text else None
    with pytest.raises(UsageError) as error:
        ContextFree.parse(text, 3, alphabet)
    assert message in str(error.value)


def test_ambiguity_among_long_words_is_found() -> None:
    text = """
    S -> D D D D D D D D D D D T
    D -> "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
    T -> L | R
    L -> D D D D D "1"
    R -> D D D D D "1"
    """
    with pytest.raises(UsageError, match="ambiguous: the word"):
        ContextFree.parse(text, 17)


@pytest.mark.parametrize("length", [0, -1, True, 2.0])
def test_bad_lengths_are_refused(length: object) -> None:
    with pytest.raises(UsageError, match="length must be a positive integer"):
        ContextFree.parse('S -> "a" S | "a"', length)  # type: ignore[arg-type]


def test_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "rules.txt"
    with pytest.raises(UsageError, match="cannot read the rules in"):
        ContextFree.read(path, 4)
    path.write_text('S -> "(" S ")" S | ""')
    assert ContextFree.read(path, 4).count() == 2
    path.write_text("S -> (")
    with pytest.raises(UsageError, match=r"rules.txt: line 1, column 6: '\(' is no rule"):
        ContextFree.read(path, 4)


def test_jacobians_exist_and_are_right() -> None:
    grammar = ContextFree.parse('S -> "(" S ")" S | ""', 4)
    random = torch.Generator().manual_seed(0)
    scores: Tensor = torch.randn(2, 4, 2, generator=random, dtype=torch.float64)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(grammar.marginals, scores)
