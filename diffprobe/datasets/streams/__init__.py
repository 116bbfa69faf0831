"""The streams that a configuration can name, one a file: what training sees, step by step."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.stream import Stream


class StreamKind(Kind, ABC):
    """Settings of a stream."""

    role: ClassVar[str] = "stream"

    @abstractmethod
    def build(self, grammar: "Grammar") -> "Stream":
        """Return the stream in a world of that grammar.

        Raises:
            UsageError: If they do not fit each other.
        """
