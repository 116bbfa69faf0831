"""Any regular language, by its automaton."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST, GrammarKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class AutomatonConfig(GrammarKind):
    """A finite automaton: `transitions[state][symbol]` is the next state, -1 where a word dies.

    `weights`, of the same shape, make words likely in proportion to the product along their path.
    """

    name: ClassVar[str] = "automaton"
    transitions: tuple[tuple[int, ...], ...] = ()
    accept: tuple[int, ...] = (0,)
    length: int = 6
    start: int = 0
    weights: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        check_positive(most=LONGEST, length=self.length)

    def language(self) -> "Grammar":
        """Return the automaton."""
        from diffprobe.datasets.inference.automaton import Automaton

        return Automaton(
            self.transitions,
            self.accept,
            length=self.length,
            start=self.start,
            weights=self.weights or None,
        )
