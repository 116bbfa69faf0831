"""The grammars that a configuration can name, one a file: settings, and what they build."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.inference.grammar import Grammar


# Cells of a word. An automaton takes time in proportion to them, context-free rules to their cube.
LONGEST = 4096
LONGEST_CONTEXT_FREE = 512


class GrammarKind(Kind, ABC):
    """Settings of a grammar.

    A kind says which engine recognises its words (`language`) and, where it has names for what can
    be wrong, which kind of wrong a word is (`violations`).
    """

    role: ClassVar[str] = "grammar"

    def build(self) -> "Grammar":
        """Return the grammar.

        Raises:
            UsageError: If the settings describe none.
        """
        grammar = self.language()
        grammar.kind = self
        return grammar

    @abstractmethod
    def language(self) -> "Grammar":
        """Return the engine that recognises the words."""

    def violations(self, words: "Tensor") -> "dict[str, Tensor] | None":
        """Return the named ways in which words are wrong; see `Grammar.violations`.

        Args:
            words: (N, L) long, symbols of the alphabet.

        Returns:
            Kind -> (N,) bool, a word being valid where none is true; None where the kind has no
            names of its own, and words are told apart by their distance to the language.
        """
        return None

    def conditions(self) -> "dict[str, Tensor]":
        """Return named sets of cells that can be given, for samples on a condition.

        Returns:
            Name -> (n, L) long, words whose cells that are to be sampled are -1.
        """
        return {}
