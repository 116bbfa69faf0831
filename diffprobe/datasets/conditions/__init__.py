"""The conditions that a configuration can name, one a file: what a network is told of a word."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind
from diffprobe.foundations.settings import check_share

if TYPE_CHECKING:
    from diffprobe.datasets.condition import Conditions
    from diffprobe.datasets.inference.grammar import Grammar


class ConditionKind(Kind, ABC):
    """Settings of a condition.

    Attributes:
        told: Whether there is one.
        drop: Share of the images in training whose condition is left out, so that the network
            knows what there is without one, which guidance needs.
    """

    role: ClassVar[str] = "condition"
    told: ClassVar[bool] = True
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_share(**{"condition.drop": self.drop})

    @abstractmethod
    def build(self, grammar: "Grammar") -> "Conditions | None":
        """Return what can be told of the words of a grammar; None where nothing is.

        Raises:
            UsageError: If the grammar has no such conditions.
        """
