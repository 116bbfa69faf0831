"""Parity with coupled neighbours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar

# Either way exp(coupling) and its inverse are far from the ends of float64.
STRONGEST = 100.0


@dataclass(frozen=True)
class CoupledParityConfig(GrammarKind):
    """Words of even parity, neighbours alike the more often the larger `coupling` is.

    With signs s_i = ±1, -1 the second symbol,

        p(word) ∝ exp(coupling · Σ_i s_i s_{i+1}),    an even number of second symbols.

    At coupling 0 this is parity, of which no proper subset of cells says anything about the rest;
    the stronger the coupling, the more neighbours tell of each other. The free Ising chain of the
    same coupling has the neighbours and not the rule: with E Π_i s_i = tanh(coupling)^(L/2) for
    even L, 0 for odd L, it obeys parity with probability

        (1 + tanh(coupling)^(L/2)) / 2 for even L,    1/2 for odd L,

    about what a model reaches that knows neighbours only: the rule changes their correlation from
    tanh(coupling) a little.
    """

    name: ClassVar[str] = "coupled-parity"
    length: int = 6
    coupling: float = 0.0

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length)
        if not abs(self.coupling) <= STRONGEST:
            raise UsageError(
                f"coupling must lie in [-{STRONGEST:g}, {STRONGEST:g}], not {self.coupling}"
            )

    def language(self) -> "Grammar":
        """Return an automaton that remembers the parity and the last symbol."""
        import torch

        from diffprobe.datasets.inference.automaton import Automaton

        # State 2 · parity + last symbol; before the first symbol there is state 4.
        states = torch.arange(5)[:, None]
        parity, last, symbol = states // 2 % 2, states % 2, torch.arange(2)
        transitions = 2 * ((parity + symbol) % 2) + symbol
        alike = torch.where(last == symbol, 1.0, -1.0).double()
        alike[4] = 0.0
        return Automaton(
            transitions,
            accept=[0, 1],
            length=self.length,
            start=4,
            weights=(self.coupling * alike).exp(),
        )

    def violations(self, words: "Tensor") -> "dict[str, Tensor]":
        """Return {"odd parity": (N,) bool}."""
        return {"odd parity": words.sum(1) % 2 == 1}
