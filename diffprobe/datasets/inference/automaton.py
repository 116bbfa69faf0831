"""Grammars recognised by a deterministic finite automaton.

With beta_i[q] the sum over endings of the word read from state q at step i,

    beta_i[q] = sum over symbols v of weight_i[q, v] * scores[cell_i, v] * beta_{i+1}[next(q, v)],

so one pass costs O(L·|Q|·V), each step a gather and a sum.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from diffprobe.datasets.inference.grammar import Grammar, log_weights
from diffprobe.datasets.inference.semiring import LogSemiring, Semiring
from diffprobe.foundations.errors import UsageError


class Automaton(Grammar):
    """The words that lead a deterministic finite automaton from `start` to a state in `accept`.

    Args:
        transitions: (Q, V) next state of each state and symbol, -1 where the word dies; or
            (L, Q, V), a table for each step.
        accept: States that end a valid word.
        length: L; needed with a (Q, V) table.
        start: State before the first symbol.
        order: The cell read at each step, a permutation of `range(L)`; by default left to right.
        weights: Of the shape of `transitions`, positive; a word's probability is in proportion to
            the product along its path. Those of transitions to death are passed over. By default
            all are 1.

    Raises:
        UsageError: If a table, state, order or weight is malformed, or no word is accepted.

    Example:
        >>> no_double_one = Automaton([[0, 1], [0, -1]], accept=[0, 1], length=4)
        >>> no_double_one.count()
        8
    """

    def __init__(
        self,
        transitions: Sequence[Sequence[int]] | Tensor,
        accept: Sequence[int],
        *,
        length: int | None = None,
        start: int = 0,
        order: Sequence[int] | None = None,
        weights: Sequence[Sequence[float]] | Tensor | None = None,
    ) -> None:
        try:
            table = torch.as_tensor(transitions)
        except (TypeError, ValueError) as error:
            raise UsageError(
                "each state of transitions must have the same number of symbols, integers all"
            ) from error
        logs = None if weights is None else log_weights(weights, table >= 0)
        if table.ndim == 2 and length is not None and length > 0:
            table = table.expand(length, -1, -1)
        if table.ndim != 3 or 0 in table.shape or table.is_floating_point():
            raise UsageError(
                "transitions must be integers of shape (Q, V) with a positive length, "
                f"or (L, Q, V); got shape {tuple(table.shape)} and length {length}"
            )
        if length is not None and length != len(table):
            raise UsageError(f"transitions hold {len(table)} steps; the length given is {length}")
        self.length, self.states, self.symbols = table.shape
        if table.min() < -1 or table.max() >= self.states:
            raise UsageError(f"transitions must lie in -1 … {self.states - 1}")
        bad = [q for q in (start, *accept) if not 0 <= q < self.states]
        if bad:
            raise UsageError(f"state {bad[0]} is outside 0 … {self.states - 1}")
        self.order = list(range(self.length)) if order is None else list(order)
        if sorted(self.order) != list(range(self.length)):
            raise UsageError(f"order must be a permutation of 0 … {self.length - 1}: {self.order}")
        self.start = start
        self.accept = sorted(set(accept))
        # State Q is the dead one.
        self.table = torch.where(table < 0, self.states, table).long()
        self.weighted = logs is not None
        self.log_weights: Sequence[Tensor | None] = [None] * self.length
        if logs is not None:
            self.log_weights = list(logs.expand(table.shape))
        if self.count() == 0:
            raise UsageError("the language is empty: the automaton accepts no word of this length")

    @property
    def elements_per_row(self) -> int:
        """Every step keeps its (Q, V) alternatives for the gradient."""
        return self.length * self.states * self.symbols

    def inside(self, scores: Tensor, semiring: Semiring) -> Tensor:
        """Return the sum over accepted words of the product of `scores (B, L, V)`: (B,)."""
        table = self.table.to(scores.device)
        dead = scores.new_full((len(scores), 1), semiring.zero)
        ending = scores.new_full((len(scores), self.states + 1), semiring.zero)
        ending[:, self.accept] = semiring.one
        for step in reversed(range(self.length)):
            following = ending.index_select(1, table[step].flatten())
            following = following.unflatten(1, (self.states, self.symbols))
            here = scores[:, self.order[step], None, :]
            paths = semiring.weigh(semiring.mul(here, following), self.log_weights[step])
            ending = torch.cat([semiring.sum(paths, -1), dead], dim=1)
        return ending[:, self.start]

    def sample(self, n: int, generator: torch.Generator, *, scores: Tensor | None = None) -> Tensor:
        """Draw words of the language or of its posterior; see `Grammar.sample`.

        It gives word for word what the recursion gives with the same generator; `sample_each` is
        quicker and gives other words. Two stand here because probes measure on words drawn so:
        drawing them otherwise would change every number that was measured.
        """
        if scores is not None:
            return super().sample(n, generator, scores=scores)
        rows = self.drawn_at_once
        return torch.cat(
            [self._walk(min(rows, n - i), generator) for i in range(0, max(1, n), rows)]
        )

    def sample_each(self, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw words with each of several generators; see `Grammar.sample_each`.

        A word walks from state to state. For each cell one number is drawn, and the symbol is that
        in whose share of [0, 1) it falls: fewer numbers than `sample` draws.
        """
        device = generators[0].device
        table, shares = self.table.to(device), self._cumulative_shares.to(device)
        shape = self.length, n
        uniform = torch.stack(
            [torch.rand(shape, generator=g, dtype=torch.float64, device=device) for g in generators]
        )
        words = torch.empty(len(generators), n, self.length, dtype=torch.long, device=device)
        state = words.new_full((len(generators), n), self.start)
        for step, cell in enumerate(self.order):
            symbol = (uniform[:, step, :, None] >= shares[step, state]).sum(-1)
            words[:, :, cell] = symbol
            state = table[step, state, symbol]
        return words

    def _walk(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw words as the recursion would, with the numbers that it draws for every state.

        Without evidence a step's alternatives are the same for all words, and are weighed once.
        """
        device = generator.device
        table, logs = self.table.to(device), self._log_alternatives.to(device)
        shape = n, self.states, self.symbols
        words = torch.empty(n, self.length, dtype=torch.long, device=device)
        state = words.new_full((n,), self.start)
        for step, cell in enumerate(self.order):
            # Float64, because a float32 uniform is 0 once in 16 million draws.
            uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
            here = uniform.take_along_dim(state[:, None, None], 1).squeeze(1)
            symbol = (logs[step, state] - torch.log(-torch.log(here))).argmax(-1)
            words[:, cell] = symbol
            state = table[step, state, symbol]
        return words

    @cached_property
    def _cumulative_shares(self) -> Tensor:
        """(L, Q, V - 1) float64, in each state the probability of a symbol or one before it."""
        logs = self._log_alternatives
        total = (logs - logs.amax(-1, keepdim=True)).exp().cumsum(-1)
        # Divided by itself the whole is 1, which no number reaches: what follows is never drawn.
        return (total / total[..., -1:])[..., :-1]

    @cached_property
    def _log_alternatives(self) -> Tensor:
        """(L, Q, V) float64, what each symbol is worth in each state where there is no evidence."""
        kept = _Kept()
        self.inside(torch.zeros(1, self.length, self.symbols), kept)
        return torch.stack([alternatives[0] for alternatives in reversed(kept.sums)]).double()


class _Kept(LogSemiring):
    """Log-space sums that remember what was summed."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: list[Tensor] = []

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Add in log space."""
        self.sums.append(x)
        return super().sum(x, dim)
