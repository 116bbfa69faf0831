"""The class of a word as a condition."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.conditions import ConditionKind

if TYPE_CHECKING:
    from diffprobe.datasets.condition import ClassConditions
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class ClassConditionConfig(ConditionKind):
    """One token: which component of a mixture the word is of.

    A word that is in several is of each as often as it is drawn from it. Of a share `drop` of the
    images in training the condition is left out.
    """

    name: ClassVar[str] = "class"
    drop: float = 0.1

    def build(self, grammar: "Grammar") -> "ClassConditions":
        """Return the classes; see `ConditionKind.build`."""
        from diffprobe.datasets.condition import ClassConditions

        return ClassConditions(grammar)
