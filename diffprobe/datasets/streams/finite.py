"""A finite training set."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.streams import StreamKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.stream import FiniteWords


@dataclass(frozen=True)
class FiniteConfig(StreamKind):
    """`words` distinct words drawn with replacement, the others held out; `seed` says which."""

    name: ClassVar[str] = "finite"
    words: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(words=self.words)

    def build(self, grammar: "Grammar") -> "FiniteWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.stream import FiniteWords

        return FiniteWords(grammar, self.words, self.seed)
