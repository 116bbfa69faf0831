"""Any context-free language, by its rules."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import LONGEST_CONTEXT_FREE, GrammarKind
from diffprobe.foundations.settings import check_positive, with_text

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class ContextFreeConfig(GrammarKind):
    """Context-free rules over the terminals `symbols`, one character each; see docs/grammars.md.

    Give `file` instead of `rules`, and its text is stored in `rules`.
    """

    name: ClassVar[str] = "context-free"
    rules: str = ""
    file: str = ""
    length: int = 6
    symbols: str = ""

    def __post_init__(self) -> None:
        check_positive(most=LONGEST_CONTEXT_FREE, length=self.length)

    def resolved(self) -> "ContextFreeConfig":
        """Return the same rules with the file's text in `rules`."""
        return dataclasses.replace(self, rules=with_text(self, "rules"), file="")

    def language(self) -> "Grammar":
        """Return the rules, ready for inference."""
        from diffprobe.datasets.inference.context_free import ContextFree

        return ContextFree.parse(self.rules, self.length, self.symbols or None)
