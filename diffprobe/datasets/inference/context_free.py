"""Grammars given by context-free rules.

With beta[A, i, n] the sum over the words of n symbols that A derives at cell i,

    beta[A, i, n] = sum over A -> B C and 0 < k < n of
                    weight(A -> B C) * beta[B, i, k] * beta[C, i + k, n - k],

so one pass costs O(L³·rules). All positions and the whole batch are one operation; only widths at
which a symbol derives something are visited, so that a rule with a terminal costs O(L²).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffprobe.datasets.inference.ambiguity import find_ambiguous_word
from diffprobe.datasets.inference.grammar import Grammar
from diffprobe.datasets.inference.normal_form import (
    NormalForm,
    Widths,
    normal_form,
    useful_widths,
)
from diffprobe.datasets.inference.rules import parse_rules
from diffprobe.datasets.inference.semiring import Semiring
from diffprobe.foundations.errors import UsageError

logger = logging.getLogger("diffprobe")


@dataclass(frozen=True)
class _Width:
    """What is computed for spans of one width.

    Attributes:
        splits: For each k: k, and the rows of spans of width k and n-k that are multiplied.
        log_weights: (products, 1); None where all weights are 1.
        parents: For each symbol with a span of this width, in an order that has single rules after
            what they stand for: rows among the products, terminals, rows of this width and the
            logarithms of their weights.
    """

    splits: list[tuple[int, Tensor, Tensor]]
    log_weights: Tensor | None
    parents: list[tuple[Tensor, list[int], list[tuple[int, Tensor | None]]]]

    @property
    def weighted(self) -> bool:
        """Whether a weight is not 1."""
        singles = [weight for _, _, same_width in self.parents for _, weight in same_width]
        return any(weight is not None for weight in [self.log_weights, *singles])


class ContextFree(Grammar):
    """The words of `length` symbols that unambiguous context-free rules derive.

    Made by `ContextFree.parse`.

    A word's probability is in proportion to the product of the weights in its derivation.

    Attributes:
        names: V terminals, in the order of the alphabet.
        rules: The rules in normal form.
        proved_unambiguous: Whether it is proved that no word has two derivations; otherwise none
            was found, and a warning is logged.
    """

    def __init__(self, rules: NormalForm, length: int) -> None:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise UsageError(f"length must be a positive integer, not {length!r}")
        self.length = length
        self.rules = rules
        self.names = rules.alphabet
        self.symbols = len(rules.alphabet)
        widths = useful_widths(rules, length)
        if length not in widths[0]:
            raise UsageError(f"the language is empty: the rules derive no word of length {length}")
        self._plan = [_plan_width(rules, widths, n) for n in range(1, length + 1)]
        self.weighted = any(plan.weighted for plan in self._plan)
        ambiguous, self.proved_unambiguous = find_ambiguous_word(rules, widths, length, self)
        if ambiguous is not None:
            shown = " ".join(self.names[s] for s in ambiguous)
            raise UsageError(
                f"the rules are ambiguous: the word {shown!r} has two derivations, so uniform over "
                "derivations is not uniform over words"
            )
        if not self.proved_unambiguous:
            logger.warning(
                "it is not proved that the rules are unambiguous at length %d: no word with two "
                "derivations was found, but if there is one it counts twice",
                length,
            )

    @classmethod
    def parse(cls, text: str, length: int, alphabet: Sequence[str] | None = None) -> "ContextFree":
        """Read rules, one symbol's alternatives a line, the first line's symbol the start.

        Args:
            text: Such as `S -> "(" S ")" S | ""`; see docs/grammars.md.
            length: L, symbols in a word.
            alphabet: The V terminals in order; by default in the order of their appearance.

        Raises:
            UsageError: At a syntax error (with line and column), a symbol without rules, rules
                that never end or derive themselves, terminals outside the alphabet, rules that are
                ambiguous (with the word), or an empty language.

        Example:
            >>> balanced = ContextFree.parse('S -> "(" S ")" S | ""', length=8)
            >>> balanced.count()
            14
        """
        return cls(normal_form(parse_rules(text), alphabet), length)

    @classmethod
    def read(
        cls, path: str | Path, length: int, alphabet: Sequence[str] | None = None
    ) -> "ContextFree":
        """Read the rules of a text file; see `parse`."""
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the rules in {path}: {error}") from error
        try:
            return cls.parse(text, length, alphabet)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    @property
    def elements_per_row(self) -> int:
        """Every width keeps its products for the gradient, at every position."""
        widths = enumerate(self._plan, start=1)
        products = sum(
            sum(len(left) for _, left, _ in plan.splits) * (self.length - n + 1)
            for n, plan in widths
        )
        # Both factors and their product.
        return 3 * products + self.length * self.symbols

    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over derived words of the product of `scores (B, L, V)`: (B,)."""
        spans: list[Tensor] = []  # by width - 1: (B, symbols with such spans, positions)
        for n, plan in enumerate(self._plan, start=1):
            positions = self.length - n + 1
            products = [
                semiring.mul(
                    spans[k - 1].index_select(1, left.to(scores.device))[..., :positions],
                    spans[n - k - 1].index_select(1, right.to(scores.device))[..., k:],
                )
                for k, left, right in plan.splits
            ]
            together = torch.cat(products, 1) if products else None
            if together is not None:
                together = semiring.weigh(together, plan.log_weights)
            rows: list[Tensor] = []
            for among_products, terminals, same_width in plan.parents:
                parts = [scores[:, :, v] for v in terminals]
                parts += [semiring.weigh(rows[r], w) for r, w in same_width]
                alternatives = [p[:, None] for p in parts]
                if together is not None and len(among_products):
                    index = among_products.to(scores.device)
                    alternatives.append(together.index_select(1, index))
                found = torch.cat(alternatives, 1)
                rows.append(found[:, 0] if found.shape[1] == 1 else semiring.sum(found, 1))
            empty = scores.new_zeros(len(scores), 0, positions)
            spans.append(torch.stack(rows, 1) if rows else empty)
        # The start symbol comes last at the full width, where nothing else is useful.
        return spans[-1][:, -1, 0]


def _plan_width(rules: NormalForm, widths: Widths, n: int) -> _Width:
    row_of = {
        k: {a: row for row, a in enumerate(a for a in rules.order if k in widths[a])}
        for k in range(1, n + 1)
    }
    by_split: dict[int, tuple[list[int], list[int], list[tuple[int, float]]]] = {}
    for (parent, left, right), weight in zip(rules.pairs, rules.pair_weights, strict=True):
        if n not in widths[parent]:
            continue
        for k in range(1, n):
            if k in widths[left] and n - k in widths[right]:
                lefts, rights, parents = by_split.setdefault(k, ([], [], []))
                lefts.append(row_of[k][left])
                rights.append(row_of[n - k][right])
                parents.append((parent, weight))
    owners = [owner for k in by_split for owner in by_split[k][2]]
    plan = []
    for symbol in row_of[n]:
        among_products = [i for i, (owner, _) in enumerate(owners) if owner == symbol]
        terminals = [v for a, v in rules.terminals if a == symbol] if n == 1 else []
        same_width = [
            (row_of[n][b], _unless_zero(torch.tensor(weight, dtype=torch.float64)))
            for (a, b), weight in zip(rules.singles, rules.single_weights, strict=True)
            if a == symbol and n in widths[b]
        ]
        plan.append((torch.tensor(among_products, dtype=torch.long), terminals, same_width))
    splits = [
        (k, torch.tensor(lefts), torch.tensor(rights)) for k, (lefts, rights, _) in by_split.items()
    ]
    weights = torch.tensor([weight for _, weight in owners], dtype=torch.float64)
    return _Width(splits, _unless_zero(weights[:, None]), plan)


def _unless_zero(log_weights: Tensor) -> Tensor | None:
    return log_weights if log_weights.any() else None
