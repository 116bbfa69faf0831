"""Words of several grammars."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.datasets.grammars.mixture import Component, mixture
from diffprobe.datasets.streams import StreamKind

if TYPE_CHECKING:
    from diffprobe.datasets.inference.grammar import Grammar
    from diffprobe.datasets.stream import MixtureWords


@dataclass(frozen=True)
class MixtureStreamConfig(StreamKind):
    """Words of several grammars, drawn anew for ever; samples are judged by the world's grammar.

    Components are `[[stream.components]]` with a `share` and a `grammar` each, as those of the
    grammar `mixture`. The optimum for what training sees, "empirical", is that of this mixture.
    """

    name: ClassVar[str] = "mixture"
    components: tuple[Component, ...] = ()

    def build(self, grammar: "Grammar") -> "MixtureWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.stream import MixtureWords

        return MixtureWords(grammar, mixture(self.components))
