"""Looking for a word with two derivations, where it is not proved that there is none.

Two searches are made: the words of every symbol and width are listed, as long as there are few of
them, and any that comes twice is ambiguous; and the derivations of random words of full length are
counted. Derivations are drawn uniformly, so that a word with many of them comes more often.
"""

import numpy as np
import torch

from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.normal_form import NormalForm, Widths
from diffprobe.datasets.inference.semiring import ModularSemiring, SamplingSemiring
from diffprobe.datasets.inference.unambiguity import Span, is_lr1, settled_by_cells

LISTED = 20_000  # words of one symbol and width
DRAWN = 256  # words of full length
PRIME = 2**31 - 1

Words = np.ndarray[tuple[int, int], np.dtype[np.int16]]


def find_ambiguous_word(
    rules: NormalForm, widths: Widths, length: int, grammar: Grammar
) -> tuple[list[int] | None, bool]:
    """Return a word of full length with two derivations, if one is found.

    Args:
        rules: In normal form.
        widths: The useful widths of each nonterminal.
        length: L.
        grammar: Draws and counts derivations.

    Returns:
        The word or None; and where it is None, whether it is proved that there is none.
    """
    if is_lr1(rules, widths):
        return None, True
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
                return before + twice + after, False
            listed[symbol, n] = words
    if (0, length) in listed:
        return None, True
    if is_lr1(rules, widths, settled_by_cells(rules, widths, length, listed)):
        return None, True
    return _draw_ambiguous_word(grammar), False


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


def _draw_ambiguous_word(grammar: Grammar) -> list[int] | None:
    # Not the grammar's own samples: weights could hide a word.
    uniform = SamplingSemiring(torch.Generator().manual_seed(0), power=0.0)
    for chunk in grammar.chunks(torch.zeros(DRAWN, grammar.length, grammar.symbols)):
        with torch.enable_grad():
            leaf = chunk.detach().requires_grad_()
            (one_hot,) = torch.autograd.grad(grammar.inside(leaf, uniform).sum(), leaf)
        semiring = ModularSemiring(torch.full((len(chunk),), PRIME))
        derivations = grammar.inside(one_hot.long(), semiring)
        if (derivations > 1).any():
            return [int(s) for s in one_hot[derivations > 1][0].argmax(-1)]
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
