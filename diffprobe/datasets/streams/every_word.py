"""All words at every step."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.streams import StreamKind

if TYPE_CHECKING:
    from diffprobe.datasets.every_word import EveryWord
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class EveryWordConfig(StreamKind):
    """Every word of the language in each batch, equally often or by its weight; noise is drawn.

    The batch is a multiple of the number of words.
    """

    name: ClassVar[str] = "every-word"

    def build(self, grammar: "Grammar") -> "EveryWord":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.every_word import EveryWord

        return EveryWord(grammar)
