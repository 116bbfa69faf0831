"""Looking for a word with two derivations.

Whether context-free rules are ambiguous cannot be decided in general. Two searches are made: the
words of every symbol and width are listed, as long as there are few of them, and any that comes
twice is ambiguous; and the derivations of random words of full length are counted. Words with many
derivations are drawn more often, so that widespread ambiguity is not missed.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from diffprobe.datasets.rules import NormalForm, Widths
from diffprobe.datasets.semiring import ModularSemiring

if TYPE_CHECKING:
    from diffprobe.datasets.context_free import ContextFree

LISTED = 20_000  # words of one symbol and width
DRAWN = 256  # words of full length
PRIME = 2**31 - 1

Words = np.ndarray[tuple[int, int], np.dtype[np.int16]]
Span = tuple[int, int]  # nonterminal and width


def find_ambiguous_word(
    rules: NormalForm, widths: Widths, length: int, grammar: "ContextFree"
) -> list[int] | None:
    """Return a word of full length that the search shows to have two derivations, if it finds one.

    Args:
        rules: In normal form.
        widths: The useful widths of each nonterminal.
        length: L.
        grammar: Counts derivations.
    """
    listed: dict[Span, Words] = {}
    for n in range(1, length + 1):
        for symbol in rules.order:
            if n not in widths[symbol]:
                continue
            words = _list_words(rules, widths, symbol, n, listed)
            if words is None:
                continue
            distinct, counts = np.unique(words, axis=0, return_counts=True)
            if len(distinct) < len(words):
                twice = [int(s) for s in distinct[counts > 1][0]]
                before, after = _context(rules, widths, length, (symbol, n))
                return before + twice + after
            listed[symbol, n] = words
    if (0, length) in listed:
        return None
    return _draw_ambiguous_word(grammar)


def _list_words(
    rules: NormalForm, widths: Widths, symbol: int, n: int, listed: dict[Span, Words]
) -> Words | None:
    """Return one row a derivation, or None if they are too many to list."""
    parts = [np.array([[v]], np.int16) for a, v in rules.terminals if a == symbol and n == 1]
    spans: list[tuple[Span, ...]] = [
        ((b, n),) for a, b in rules.singles if a == symbol and n in widths[b]
    ]
    for a, b, c in rules.pairs:
        if a == symbol:
            spans += [((b, k), (c, n - k)) for k in range(1, n) if _both(widths, b, c, k, n)]
    if any(s not in listed for pair in spans for s in pair):
        return None
    sizes = [int(np.prod([len(listed[s]) for s in pair])) for pair in spans]
    if sum(sizes) > LISTED:
        return None
    for pair in spans:
        if len(pair) == 1:
            parts.append(listed[pair[0]])
        else:
            left, right = (listed[s] for s in pair)
            parts.append(np.hstack([left.repeat(len(right), 0), np.tile(right, (len(left), 1))]))
    return np.concatenate(parts)


def _both(widths: Widths, left: int, right: int, k: int, n: int) -> bool:
    return k in widths[left] and n - k in widths[right]


def _draw_ambiguous_word(grammar: "ContextFree") -> list[int] | None:
    words = grammar.sample(DRAWN, torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(words, grammar.symbols)
    for chunk in grammar.chunks(one_hot):
        semiring = ModularSemiring(torch.full((len(chunk),), PRIME))
        derivations = grammar.inside(chunk, semiring)
        if (derivations > 1).any():
            return [int(s) for s in chunk[derivations > 1][0].argmax(-1)]
    return None


def _context(
    rules: NormalForm, widths: Widths, length: int, goal: Span
) -> tuple[list[int], list[int]]:
    """Return what may stand before and after a span in a word of full length."""
    contexts: dict[Span, tuple[list[int], list[int]]] = {(0, length): ([], [])}
    waiting = [(0, length)]
    while goal not in contexts:
        symbol, n = waiting.pop(0)
        before, after = contexts[symbol, n]
        found: list[tuple[Span, tuple[list[int], list[int]]]] = [
            ((b, n), (before, after)) for a, b in rules.singles if a == symbol and n in widths[b]
        ]
        for a, b, c in rules.pairs:
            if a != symbol:
                continue
            for k in range(1, n):
                if _both(widths, b, c, k, n):
                    found.append(((b, k), (before, _any_word(rules, widths, c, n - k) + after)))
                    found.append(((c, n - k), (before + _any_word(rules, widths, b, k), after)))
        for span, context in found:
            if span not in contexts:
                contexts[span] = context
                waiting.append(span)
    return contexts[goal]


def _any_word(rules: NormalForm, widths: Widths, symbol: int, n: int) -> list[int]:
    for a, v in rules.terminals:
        if a == symbol and n == 1:
            return [v]
    for a, b in rules.singles:
        if a == symbol and n in widths[b]:
            return _any_word(rules, widths, b, n)
    left, right, k = next(
        (b, c, k)
        for a, b, c in rules.pairs
        if a == symbol
        for k in range(1, n)
        if _both(widths, b, c, k, n)
    )
    return _any_word(rules, widths, left, k) + _any_word(rules, widths, right, n - k)
