"""The word itself, or how it begins, as a condition: rendering of text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.conditions import ConditionKind
from diffprobe.foundations.settings import check_at_least

if TYPE_CHECKING:
    from diffprobe.datasets.condition import WordConditions
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class WordConditionConfig(ConditionKind):
    """One token for each of the first `cells` cells, its symbol; 0 tells the whole word.

    Of a share `drop` of the images in training the condition is left out.
    """

    name: ClassVar[str] = "word"
    cells: int = 0
    drop: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, "condition", cells=self.cells)

    def build(self, grammar: "Grammar") -> "WordConditions":
        """Return the conditions; see `ConditionKind.build`."""
        from diffprobe.datasets.condition import WordConditions

        return WordConditions(grammar, self.cells)
