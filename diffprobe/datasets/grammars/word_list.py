"""Any finite language, word by word."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.foundations.settings import with_text

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class WordListConfig(GrammarKind):
    """The words listed in `words`, one a line, one character of `symbols` a cell.

    After a tab a line may hold the word's weight, by default 1.

    Give `file` instead, and its text is stored in `words`.
    """

    name: ClassVar[str] = "word-list"
    words: str = ""
    file: str = ""
    symbols: str = ""

    def resolved(self) -> "WordListConfig":
        """Return the same list with the file's text in `words`."""
        return dataclasses.replace(self, words=with_text(self, "words"), file="")

    def language(self) -> "Grammar":
        """Return the list."""
        from diffprobe.datasets.inference.word_list import WordList

        return WordList.parse(self.words, self.symbols or None)
