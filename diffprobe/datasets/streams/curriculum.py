"""Samples in order of their quality."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffprobe.datasets.streams import StreamKind
from diffprobe.foundations.settings import check_positive

if TYPE_CHECKING:
    from diffprobe.datasets.curriculum import CurriculumWords
    from diffprobe.datasets.inference.grammar import Grammar


@dataclass(frozen=True)
class CurriculumConfig(StreamKind):
    """Passes of `samples` words whose quality u, in [0, 1], rises, falls or is shuffled by `seed`.

    A word is "invalid", one cell replaced, with probability (1 - u) `rate`; or its glyphs are
    "blurred" by a Gaussian of (1 - u) `rate` pixels. Validation words are clean. The optimum for
    what training sees is known for invalid words, not for blurred ones.
    """

    name: ClassVar[str] = "curriculum"
    samples: int = 65536
    order: Literal["ascending", "descending", "shuffled"] = "ascending"
    corruption: Literal["invalid", "blurred"] = "invalid"
    rate: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(samples=self.samples)

    def build(self, grammar: "Grammar") -> "CurriculumWords":
        """Return the stream; see `StreamKind.build`."""
        from diffprobe.datasets.curriculum import CurriculumWords

        return CurriculumWords(
            grammar, self.samples, self.order, self.corruption, self.rate, self.seed
        )
