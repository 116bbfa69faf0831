"""The normal form of context-free rules that the inside recursion needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffprobe.datasets.inference.rules import Alternative, Item, Rules, rule_error
from diffprobe.foundations.errors import UsageError, unknown_name

EMPTY = ("ε", "eps", "epsilon", "λ", "lambda", "empty")  # what others call the empty word


@dataclass(frozen=True)
class NormalForm:
    """Rules of at most two symbols, none of which derives the empty word.

    Nonterminals are numbered, the start is 0. The derivations of every word of length 1 and more
    are those of the rules as written, one to one.

    Attributes:
        alphabet: V terminals.
        pairs: A -> B C.
        singles: A -> B.
        pair_weights: The logarithm of each pair's weight.
        single_weights: The logarithm of each single's weight.
        terminals: A -> v, of weight 1.
        order: All nonterminals, each after those its singles stand for.
        names: What each nonterminal is called in messages.
    """

    alphabet: tuple[str, ...]
    pairs: tuple[tuple[int, int, int], ...]
    singles: tuple[tuple[int, int], ...]
    pair_weights: tuple[float, ...]
    single_weights: tuple[float, ...]
    terminals: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    names: tuple[str, ...]


Widths = Sequence[frozenset[int]]  # of each nonterminal: the widths of spans it is needed for


def normal_form(rules: Rules, alphabet: Sequence[str] | None = None) -> NormalForm:
    """Bring rules into normal form.

    Raises:
        UsageError: If a symbol has no rules, never ends, is never used, or derives itself; if a
            terminal is outside the alphabet; or if the empty word has two derivations.
    """
    alphabet = _alphabet(rules, alphabet)
    _check_names(rules)
    builder = _Builder(rules, alphabet)
    _check_ends(rules)
    empty = _empty_derivations(builder)
    pairs: list[tuple[tuple[int, int, int], float]] = []
    singles: list[tuple[tuple[int, int], float]] = []
    for parent, body, weight in builder.bodies:
        if len(body) == 1:
            singles.append(((parent, body[0]), weight))
        elif len(body) == 2:
            left, right = body
            pairs.append(((parent, left, right), weight))
            if right in empty:
                singles.append(((parent, left), weight + empty[right]))
            if left in empty:
                singles.append(((parent, right), weight + empty[left]))
    # What derives nothing but the empty word can be no part of a span.
    full = _nonempty(builder, [p for p, _ in pairs], [s for s, _ in singles])
    pairs = [(p, w) for p, w in pairs if p[1] in full and p[2] in full]
    singles = [(s, w) for s, w in singles if s[1] in full]
    order = _order(len(builder.names), [s for s, _ in singles], builder.names)
    return NormalForm(
        alphabet=tuple(alphabet),
        pairs=tuple(p for p, _ in pairs),
        singles=tuple(s for s, _ in singles),
        pair_weights=tuple(w for _, w in pairs),
        single_weights=tuple(w for _, w in singles),
        terminals=tuple(builder.terminals),
        order=order,
        names=tuple(builder.names),
    )


class _Builder:
    """Rules with at most two symbols a side; terminals and tails get symbols of their own.

    Bodies come with the logarithm of their weight; a rule's goes with its first part.
    """

    def __init__(self, rules: Rules, alphabet: Sequence[str]) -> None:
        self.names: list[str] = []
        self.bodies: list[tuple[int, tuple[int, ...], float]] = []
        self.terminals: list[tuple[int, int]] = []
        self._alphabet = {name: index for index, name in enumerate(alphabet)}
        self._letters: dict[str, int] = {}
        number = {name: self._new(name) for name in rules.alternatives}
        for name, alternatives in rules.alternatives.items():
            for alternative in alternatives:
                self._add(number[name], alternative, number)

    def _new(self, name: str) -> int:
        self.names.append(name)
        return len(self.names) - 1

    def _add(self, parent: int, rule: Alternative, number: Mapping[str, int]) -> None:
        parts = [self._letter(i.name) if i.terminal else number[i.name] for i in rule.items]
        weight = math.log(rule.weight)
        while len(parts) > 2:
            tail = self._new(f"the end of a rule of {self.names[parent]}")
            self.bodies.append((parent, (parts[0], tail), weight))
            parent, parts, weight = tail, parts[1:], 0.0
        self.bodies.append((parent, tuple(parts), weight))

    def _letter(self, name: str) -> int:
        if name not in self._letters:
            self._letters[name] = self._new(repr(name))
            self.terminals.append((self._letters[name], self._alphabet[name]))
        return self._letters[name]


def _alphabet(rules: Rules, alphabet: Sequence[str] | None) -> Sequence[str]:
    items = [i for i in _items(rules) if i.terminal]
    if alphabet is None:
        return list(dict.fromkeys(i.name for i in items))
    for item in items:
        if item.name not in alphabet:
            raise rule_error(
                item.line,
                item.column,
                f"the terminal {item.name!r} is not among the symbols {' '.join(alphabet)}",
            )
    return alphabet


def _items(rules: Rules) -> list[Item]:
    return [i for found in rules.alternatives.values() for a in found for i in a.items]


def _check_names(rules: Rules) -> None:
    for item in _items(rules):
        if not item.terminal and item.name not in rules.alternatives:
            unknown = unknown_name("symbol", item.name, rules.alternatives)
            hint = f'if it is a terminal, write "{item.name}" in quotes'
            if item.name.lower() in EMPTY:
                hint = 'the empty word is written ""'
            raise rule_error(item.line, item.column, f"{unknown}; {hint}")
    reached, waiting = {rules.start}, [rules.start]
    while waiting:
        for alternative in rules.alternatives[waiting.pop()]:
            new = {i.name for i in alternative.items if not i.terminal} - reached
            reached |= new
            waiting += new
    for name in rules.alternatives:
        if name not in reached:
            raise rule_error(
                rules.lines[name], 1, f"the symbol {name} is never reached from {rules.start}"
            )


def _check_ends(rules: Rules) -> None:
    ending: set[str] = set()
    while new := {
        name
        for name, alternatives in rules.alternatives.items()
        if name not in ending
        and any(all(i.terminal or i.name in ending for i in a.items) for a in alternatives)
    }:
        ending |= new
    for name in rules.alternatives:
        if name not in ending:
            raise rule_error(
                rules.lines[name],
                1,
                f"the symbol {name} never ends: each of its alternatives leads back to itself",
            )


def _empty_derivations(builder: _Builder) -> dict[int, float]:
    """Return the log weight of the empty word from each symbol that derives it.

    Raises:
        UsageError: If one does so in more than one way.
    """
    found: dict[int, float] = {}
    # A tree of distinct symbols is no deeper than there are symbols; one more round grows only
    # where a symbol derives itself.
    for _ in range(len(builder.names) + 1):
        new: dict[int, float] = {}
        for parent, body, weight in builder.bodies:
            if not all(part in found for part in body):
                continue
            if parent in new:
                raise UsageError(
                    f"the rules are ambiguous: {builder.names[parent]} derives the empty word '' "
                    "in two ways"
                )
            new[parent] = weight + sum(found[part] for part in body)
        found = new
    return found


def _nonempty(
    builder: _Builder, pairs: Sequence[tuple[int, int, int]], singles: Sequence[tuple[int, int]]
) -> set[int]:
    full = {a for a, _ in builder.terminals}
    while (
        new := (
            {a for a, b, c in pairs if b in full and c in full}
            | {a for a, b in singles if b in full}
        )
        - full
    ):
        full |= new
    return full


def _order(count: int, singles: Sequence[tuple[int, int]], names: Sequence[str]) -> tuple[int, ...]:
    children: dict[int, list[int]] = {}
    for parent, child in singles:
        children.setdefault(parent, []).append(child)
    order: list[int] = []
    placed: set[int] = set()
    # The start last, so that it has the last row.
    waiting = list(range(count - 1, -1, -1))
    while waiting:
        ready = [a for a in waiting if placed.issuperset(children.get(a, ()))]
        if not ready:
            # Each of those left leads to another of them: following them ends in the circle.
            circle = [waiting[0]]
            while circle[-1] not in circle[:-1]:
                circle.append(next(b for b in children[circle[-1]] if b in waiting))
            name = next(names[a] for a in reversed(circle) if names[a].isidentifier())
            raise UsageError(
                f"the symbol {name} derives itself without adding a symbol, so its words have "
                "endlessly many derivations"
            )
        order += ready
        placed.update(ready)
        waiting = [a for a in waiting if a not in placed]
    return tuple(order)


def useful_widths(rules: NormalForm, length: int) -> list[frozenset[int]]:
    """Return for each nonterminal the widths of the spans it has in words of `length` symbols."""
    derives: list[set[int]] = [set() for _ in rules.names]
    for n in range(1, length + 1):
        for symbol in rules.order:
            derived = n == 1 and any(a == symbol for a, _ in rules.terminals)
            derived |= any(a == symbol and n in derives[b] for a, b in rules.singles)
            derived |= any(
                a == symbol and any(n - k in derives[c] for k in derives[b] if k < n)
                for a, b, c in rules.pairs
            )
            if derived:
                derives[symbol].add(n)
    useful: list[set[int]] = [set() for _ in rules.names]
    if length in derives[0]:
        useful[0].add(length)
    for n in range(length, 0, -1):
        for symbol in reversed(rules.order):
            if n not in useful[symbol]:
                continue
            for a, b in rules.singles:
                if a == symbol and n in derives[b]:
                    useful[b].add(n)
            for a, b, c in rules.pairs:
                if a == symbol:
                    splits = [k for k in derives[b] if k < n and n - k in derives[c]]
                    useful[b].update(splits)
                    useful[c].update(n - k for k in splits)
    return [frozenset(w) for w in useful]
