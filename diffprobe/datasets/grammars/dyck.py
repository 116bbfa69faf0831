"""Balanced brackets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST_CONTEXT_FREE, GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar

BRACKETS = ("()", "[]", "{}", "<>")


@dataclass(frozen=True)
class DyckConfig(GrammarKind):
    """Balanced brackets of `kinds` kinds, () [] {} <>: Catalan(L/2) · kinds^(L/2) words.

    Symbol 2k opens kind k and symbol 2k + 1 closes it. Neighbouring cells are strongly
    correlated, so networks learn it far sooner than parity: the natural control.
    """

    name: ClassVar[str] = "dyck"
    length: int = 8
    kinds: int = 1

    def __post_init__(self) -> None:
        check_positive(most=LONGEST_CONTEXT_FREE, length=self.length, kinds=self.kinds)
        if self.length % 2:
            raise UsageError(f"brackets need an even length, not {self.length}")
        if self.kinds > len(BRACKETS):
            raise UsageError(f"there are brackets of 1 to {len(BRACKETS)} kinds, not {self.kinds}")

    def language(self) -> "Grammar":
        """Return the context-free rules."""
        from diffprobe.datasets.inference.context_free import ContextFree
        from diffprobe.datasets.inference.normal_form import normal_form
        from diffprobe.datasets.inference.rules import parse_rules

        pairs = " | ".join(f'"{b[0]}" S "{b[1]}"' for b in BRACKETS[: self.kinds])
        # The pair has rules of its own, so that all kinds share one split of the word.
        rules = parse_rules(f'S -> "" | P S\nP -> {pairs}')
        return ContextFree(normal_form(rules, "".join(BRACKETS[: self.kinds])), self.length)

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"closes too early", "wrong kind", "left open"}, (N,) bool each.

        Read from left to right: a closing bracket with nothing open is passed over, and one of the
        wrong kind closes what is open nonetheless.
        """
        import torch

        n = len(words)
        rows = torch.arange(n, device=words.device)
        # One place more, so that writing at a depth of L stays inside.
        stack = words.new_zeros(n, self.length + 1)
        depth = words.new_zeros(n)
        early = torch.zeros(n, dtype=torch.bool, device=words.device)
        wrong = early.clone()
        for cell in range(self.length):
            kind, closes = words[:, cell] // 2, words[:, cell] % 2 == 1
            early |= closes & (depth == 0)
            pops = closes & (depth > 0)
            wrong |= pops & (stack[rows, (depth - 1).clamp(min=0)] != kind)
            depth = depth - pops.long()
            stack[rows, depth] = torch.where(closes, stack[rows, depth], kind)
            depth = depth + (~closes).long()
        return {"closes too early": early, "wrong kind": wrong, "left open": depth > 0}
