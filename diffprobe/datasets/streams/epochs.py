"""A finite training set, epoch by epoch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.streams import StreamKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.stream import EpochWords


@dataclass(frozen=True)
class EpochsConfig(StreamKind):
    """`words` distinct words, each once an epoch in a new order, for `epochs`; 0 never ends.

    `seed` says which words, and their orders; the others are held out.
    """

    name: ClassVar[str] = "epochs"
    words: int = 64
    epochs: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(words=self.words)
        if self.epochs < 0:
            raise UsageError(f"epochs must not be negative, but {self.epochs}")

    def build(self, grammar: "Grammar") -> "EpochWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.stream import EpochWords

        return EpochWords(grammar, self.words, self.epochs, self.seed)
