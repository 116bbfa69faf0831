"""The grammars diffprobe ships."""

import torch
from torch import Tensor

from diffprobe.datasets.automaton import Automaton
from diffprobe.datasets.context_free import ContextFree
from diffprobe.datasets.rules import normal_form, parse_rules
from diffprobe.foundations.errors import UsageError

BRACKETS = ("()", "[]", "{}", "<>")


class Parity(Automaton):
    """Words of two symbols with an even number of the second: 2^(L-1) of them.

    No proper subset of cells says anything about the rest, so the rule is invisible to any
    measurement that is not global.
    """

    def __init__(self, length: int) -> None:
        super().__init__([[0, 1], [1, 0]], accept=[0], length=_positive("length", length))

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"odd parity": (N,) bool}."""
        self.check_words(words)
        return {"odd parity": words.sum(1) % 2 == 1}


class ModularSum(Automaton):
    """Words of digits `0 … base-1` whose sum is 0 modulo `modulus`."""

    def __init__(self, length: int, base: int = 10, modulus: int = 10) -> None:
        self.base = _positive("base", base)
        self.modulus = _positive("modulus", modulus)
        table = (torch.arange(modulus)[:, None] + torch.arange(base)) % modulus
        super().__init__(table, accept=[0], length=_positive("length", length))

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"off by 1": …, "off by -1": …}: the sum modulo `modulus`, nearest 0."""
        self.check_words(words)
        remainder = words.sum(1) % self.modulus
        kinds = {}
        for r in range(1, self.modulus):
            off = r if r <= self.modulus // 2 else r - self.modulus
            kinds[f"off by {off}"] = remainder == r
        return kinds


class DigitSum(Automaton):
    """Four digits a, b, c, d in a 2×2 grid with a + b = c + d: 670 words.

    Reference:
        The rule of Quarter-MNIST in Lu et al., arXiv:2503.03595, section 5.
    """

    def __init__(self) -> None:
        span = 18
        difference = torch.arange(-span, span + 1)[:, None]
        digit = torch.arange(10)
        steps = []
        for sign in (1, 1, -1, -1):
            following = difference + sign * digit
            steps.append(torch.where(following.abs() <= span, following + span, -1))
        super().__init__(torch.stack(steps), accept=[span], start=span)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"off by 1": …, "off by -18": …}, (N,) bool each: a + b - c - d."""
        self.check_words(words)
        difference = words[:, :2].sum(1) - words[:, 2:].sum(1)
        sizes = [d for size in range(1, 19) for d in (size, -size)]
        return {f"off by {d}": difference == d for d in sizes}


class _Pairs(Automaton):
    """Words in which each cell of one half equals its partner in the other."""

    def __init__(self, length: int, symbols: int, partners: list[tuple[int, int]]) -> None:
        # Read pair by pair: state v remembers the symbol v, the last state that all is well.
        well = symbols
        remember = torch.full((symbols + 1, symbols), -1)
        remember[well] = torch.arange(symbols)
        compare = torch.full((symbols + 1, symbols), -1)
        compare[torch.arange(symbols), torch.arange(symbols)] = well
        steps = [remember, compare] * len(partners)
        order = [cell for pair in partners for cell in pair]
        if length % 2:  # the middle cell is free
            steps.append(torch.full((symbols + 1, symbols), well))
            order.append(length // 2)
        self.partners = partners
        super().__init__(torch.stack(steps), accept=[well], start=well, order=order)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"cell 3 differs from cell 0": (N,) bool, …}, one kind a pair."""
        self.check_words(words)
        return {
            f"cell {second} differs from cell {first}": words[:, first] != words[:, second]
            for first, second in self.partners
        }


class Copy(_Pairs):
    """Words whose second half repeats the first: V^(L/2) of them.

    Args:
        length: L, even.
        symbols: V.
    """

    def __init__(self, length: int, symbols: int = 2) -> None:
        half, odd = divmod(_positive("length", length), 2)
        if odd:
            raise UsageError(f"a copy needs an even length, not {length}")
        super().__init__(
            length, _positive("symbols", symbols), [(i, i + half) for i in range(half)]
        )


class Palindrome(_Pairs):
    """Words that read the same from either end: V^ceil(L/2) of them.

    Args:
        length: L.
        symbols: V.
    """

    def __init__(self, length: int, symbols: int = 2) -> None:
        partners = [(i, length - 1 - i) for i in range(_positive("length", length) // 2)]
        super().__init__(length, _positive("symbols", symbols), partners)


class Dyck(ContextFree):
    """Balanced brackets of `kinds` kinds: Catalan(L/2) · kinds^(L/2) words.

    Symbol 2k opens kind k and symbol 2k + 1 closes it. Neighbouring cells are strongly
    correlated, so networks learn it far sooner than parity: the natural control.

    Args:
        length: L, even.
        kinds: 1 to 4: () [] {} <>.
    """

    def __init__(self, length: int, kinds: int = 1) -> None:
        if _positive("length", length) % 2:
            raise UsageError(f"brackets need an even length, not {length}")
        if _positive("kinds", kinds) > len(BRACKETS):
            raise UsageError(f"there are brackets of 1 to {len(BRACKETS)} kinds, not {kinds}")
        self.kinds = kinds
        pairs = " | ".join(f'"{b[0]}" S "{b[1]}"' for b in BRACKETS[:kinds])
        # The pair has rules of its own, so that all kinds share one split of the word.
        rules = parse_rules(f'S -> "" | P S\nP -> {pairs}')
        super().__init__(normal_form(rules, "".join(BRACKETS[:kinds])), length)

    def violations(self, words: Tensor) -> dict[str, Tensor]:
        """Return {"closes too early", "wrong kind", "left open"}, (N,) bool each.

        Read from left to right: a closing bracket with nothing open is passed over, and one of the
        wrong kind closes what is open nonetheless.
        """
        self.check_words(words)
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


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} must be a positive integer, not {value!r}")
    return value
