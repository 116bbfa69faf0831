"""Mixtures of grammars."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars import GrammarKind
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import chosen

if TYPE_CHECKING:
    from diffprobe.datasets.inference.mixture import Mixture


@dataclass(frozen=True)
class Component:
    """A grammar, and its share of the words; shares are divided by their sum."""

    share: float = 1.0
    grammar: GrammarKind = chosen("grammar", "parity")

    def __post_init__(self) -> None:
        if not 0 < self.share < float("inf"):
            raise UsageError(f"the share of a component must be positive, not {self.share}")


@dataclass(frozen=True)
class MixtureConfig(GrammarKind):
    """Words of several grammars, `[[grammar.components]]` with a `share` and a `grammar` each.

    A word is wrong in the way in which it breaks the rules of the nearest component.
    """

    name: ClassVar[str] = "mixture"
    components: tuple[Component, ...] = ()

    def language(self) -> "Mixture":
        """Return the mixture."""
        return mixture(self.components)


def mixture(components: tuple[Component, ...]) -> "Mixture":
    """Return the mixture of grammars that settings describe.

    Raises:
        UsageError: If there is none, or their words differ in length or alphabet.
    """
    from diffprobe.datasets.inference.mixture import Mixture

    grammars = [component.grammar.build() for component in components]
    return Mixture(grammars, [component.share for component in components])
