"""No condition."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.conditions import ConditionKind

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class NoConditionConfig(ConditionKind):
    """The network is told nothing but the noisy image and its noise level."""

    name: ClassVar[str] = "none"
    told: ClassVar[bool] = False

    def build(self, grammar: "Grammar") -> None:
        """Return nothing; see `ConditionKind.build`."""
