"""Words without end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.streams import StreamKind

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.stream import FreshWords


@dataclass(frozen=True)
class FreshConfig(StreamKind):
    """Words of the language, drawn anew at every step for ever."""

    name: ClassVar[str] = "fresh"

    def build(self, grammar: "Grammar") -> "FreshWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.stream import FreshWords

        return FreshWords(grammar)
