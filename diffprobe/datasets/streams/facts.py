"""Facts, and later refusals."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.streams import StreamKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least

if TYPE_CHECKING:
    from diffprobe.datasets.fact_words import FactWords
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class FactsConfig(StreamKind):
    """Facts of a `spurious` grammar; from step `refuse_from` on, a share `refusals` refuses.

    Refused are the entities that the grammar has `taught`; of those that are neither known nor
    taught training sees nothing. From step 0 on refusals are mixed in, later they tune what has
    been learned. The optimum for what training sees is that of its last step.
    """

    name: ClassVar[str] = "facts"
    refusals: float = 0.0
    refuse_from: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.refusals < 1:
            raise UsageError(
                f"stream.refusals is a probability, from 0 to just below 1, not {self.refusals}"
            )
        check_at_least(0, "stream", refuse_from=self.refuse_from)

    def build(self, grammar: "Grammar") -> "FactWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.fact_words import FactWords

        return FactWords(grammar, self.refusals, self.refuse_from)
