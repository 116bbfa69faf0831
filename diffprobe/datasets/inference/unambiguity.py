"""Proving that no word has two derivations.

In words of fixed length every span has a width, and rules are unambiguous exactly where the
alternatives of each symbol and width, a rule and the place where it splits, share no word. Two
sound tests show that; each gives up on some rules that are unambiguous:

    cells    if the symbols possible in some cell of one alternative are others than in the same
             cell of another, the two share no word;
    LR(1)    if a parser that reads words once, in either direction, and looks one symbol ahead
             never has a choice, no word has two derivations (Knuth, "On the translation of
             languages from left to right", 1965).

Symbols that the first settles at every width may derive any string of their terminals in the
second: in that larger language the others' alternatives must still share no word (after Brabrand,
Giegerich & Møller, "Analyzing ambiguity of context-free grammars", 2010).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from diffprobe.datasets.inference.normal_form import NormalForm, Widths

ITEMS = 50_000  # of an LR(1) automaton, before it is given up
END = 1  # the lookahead behind the last symbol, a bit; the terminals' are above

Span = tuple[int, int]  # nonterminal and width
Production = tuple[int, tuple[int, ...]]  # its symbols are nonterminals, and ~v for terminal v
Item = tuple[int, int]  # production, and how much of it is read


def settled_by_cells(
    rules: NormalForm, widths: Widths, length: int, listed: Collection[Span] = ()
) -> set[int]:
    """Return the nonterminals whose alternatives differ in a cell, at every width.

    Args:
        rules: In normal form.
        widths: The useful widths of each nonterminal.
        length: L.
        listed: Nonterminals and widths whose alternatives are known to share no word.
    """
    settled = set(rules.order)
    possible: dict[Span, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    alphabet = np.eye(len(rules.alphabet), dtype=np.float32)
    for n in range(1, length + 1):
        for symbol in rules.order:
            if n not in widths[symbol]:
                continue
            alternatives = [alphabet[[v]] for a, v in rules.terminals if a == symbol]
            alternatives += [
                possible[b, n] for a, b in rules.singles if a == symbol and n in widths[b]
            ]
            for a, b, c in rules.pairs:
                if a == symbol:
                    alternatives += [
                        np.concatenate([possible[b, k], possible[c, n - k]])
                        for k in widths[b]
                        if n - k in widths[c]
                    ]
            cells = np.stack(alternatives)
            possible[symbol, n] = cells.max(0)
            if symbol in settled and (symbol, n) not in listed and not _all_differ(cells):
                settled.remove(symbol)
    return settled


def _all_differ(cells: np.ndarray[tuple[int, int, int], np.dtype[np.float32]]) -> bool:
    """Return whether of any two alternatives of `cells (M, n, V)` some cell shares no symbol."""
    alike = np.ones((len(cells), len(cells)), dtype=bool)
    for i in range(cells.shape[1]):
        alike &= cells[:, i] @ cells[:, i].T > 0
        if alike.sum() == len(cells):
            return True
    return False


def is_lr1(rules: NormalForm, widths: Widths, settled: Collection[int] = ()) -> bool:
    """Return whether the second test shows that no word of full length has two derivations.

    Args:
        rules: In normal form.
        widths: The useful widths of each nonterminal.
        settled: Nonterminals whose alternatives are known to share no word.
    """
    letters = {a: ~v for a, v in rules.terminals}
    # What words of full length use; a rule written twice stays twice.
    used: list[Production] = [
        (a, (letters.get(b, b), letters.get(c, c)))
        for a, b, c in rules.pairs
        if any(n - k in widths[c] for n in widths[a] for k in widths[b])
    ]
    used += [(a, (letters.get(b, b),)) for a, b in rules.singles if widths[a] & widths[b]]
    mirrored = [(head, body[::-1]) for head, body in used]
    return _is_lr1(used, set(settled)) or _is_lr1(mirrored, set(settled))


def _is_lr1(productions: list[Production], settled: set[int]) -> bool:
    terminals = _terminals(productions, first=False)
    starts = sorted({head for head, _ in productions} - settled) if settled else [0]
    while (conflict := _find_conflict(productions, starts)) is not None:
        loosened = conflict & settled
        if not loosened:
            return False
        settled -= loosened
        productions = [p for p in productions if p[0] not in loosened]
        for symbol in loosened:
            for v in (s for s in terminals if s < 0 and terminals[s] & terminals[symbol]):
                productions += [(symbol, (v, symbol)), (symbol, (v,))]
    return True


def _find_conflict(productions: Sequence[Production], starts: Sequence[int]) -> set[int] | None:
    """Return symbols between whose rules an LR(1) parser cannot choose, None if it always can.

    The set is empty where the automaton grows too large to tell.
    """
    heads = [head for head, _ in productions] + [-1 for _ in starts]
    bodies = [body for _, body in productions] + [(start,) for start in starts]
    first = _terminals(productions, first=True)
    rules_of = defaultdict(list)
    for number, (head, _) in enumerate(productions):
        rules_of[head].append(number)
    states = [frozenset({((len(productions) + i, 0), END)}) for i in range(len(starts))]
    seen = set(states)
    items_left = ITEMS
    while states:
        items = _closure(dict(states.pop()), bodies, rules_of, first)
        items_left -= len(items)
        if items_left < 0:
            return set()
        read: dict[Item, int] = {}  # complete items, and those that go on with a terminal
        following: defaultdict[int, set[tuple[Item, int]]] = defaultdict(set)
        for (number, dot), ahead in items.items():
            if dot == len(bodies[number]):
                read[number, dot] = ahead
                continue
            symbol = bodies[number][dot]
            following[symbol].add(((number, dot + 1), ahead))
            if symbol < 0:
                read[number, dot] = _bit(symbol)
        for complete in [item for item in read if item[1] == len(bodies[item[0]])]:
            for other, ahead in read.items():
                if other != complete and ahead & read[complete]:
                    return {heads[complete[0]], heads[other[0]]}
        new = {frozenset(kernel) for kernel in following.values()} - seen
        seen |= new
        states += new
    return None


def _closure(
    items: dict[Item, int],
    bodies: Sequence[tuple[int, ...]],
    rules_of: Mapping[int, list[int]],
    first: Mapping[int, int],
) -> dict[Item, int]:
    """Add the rules that may begin next, to items with a bit for each terminal after them."""
    waiting = list(items)
    while waiting:
        number, dot = waiting.pop()
        body = bodies[number]
        if dot == len(body) or body[dot] < 0:
            continue
        ahead = first[body[dot + 1]] if dot + 1 < len(body) else items[number, dot]
        for other in rules_of[body[dot]]:
            known = items.get((other, 0), 0)
            if ahead & ~known:
                items[other, 0] = known | ahead
                waiting.append((other, 0))
    return items


def _terminals(productions: Sequence[Production], *, first: bool) -> dict[int, int]:
    """Return which terminals each symbol's words begin with, or hold anywhere, a bit each."""
    found: defaultdict[int, int] = defaultdict(int)
    for _, body in productions:
        found.update({s: _bit(s) for s in body if s < 0})
    grows = True
    while grows:
        grows = False
        for head, body in productions:
            for symbol in body[:1] if first else body:
                grows |= bool(found[symbol] & ~found[head])
                found[head] |= found[symbol]
    return found


def _bit(terminal: int) -> int:
    return 1 << -terminal
