"""Conditional information: what far cells still tell, near ones known, along the noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.conditional_information.information import ConditionalInformation
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class ConditionalInformationConfig(ProbeKind):
    """What far cells tell of a cell beyond its near ones, and which radius a network has."""

    name: ClassVar[str] = "conditional-information"
    rank: ClassVar[int] = 5
    reads: ClassVar[tuple[str, ...]] = ("probe.batch_size", "probe.seed")
    captions: ClassVar[Mapping[str, Caption]] = {
        "conditional-information": (
            "What far cells tell",
            "Above, the information on a cell that only cells beyond a radius have, by the exact "
            "recursion of the grammar. Below, how far the network is from the best denoiser of "
            "each radius and from the Bayes optimum. Bands are 95 % intervals.",
        ),
    }

    images: int = field(default=128, metadata={"help": "Noisy images per noise level."})
    levels: int = field(default=21, metadata={"help": "Noise levels."})
    radii: tuple[int, ...] = field(
        default=(0, 1, 2), metadata={"help": "How far a cell's near ones reach, in cells."}
    )

    def __post_init__(self) -> None:
        section = "probes.conditional-information"
        check_at_least(2, section, images=self.images)
        check_at_least(1, section, levels=self.levels)
        if not self.radii or min(self.radii) < 0 or len(set(self.radii)) < len(self.radii):
            raise UsageError(
                f"{section}.radii must be different numbers from 0 on, not {list(self.radii)}"
            )

    def unfit(self, subject: "Subject") -> str | None:
        """Without a grammar nothing is known of far cells; one cell has none."""
        if subject.dataset is None:
            return NO_GRAMMAR
        return None if subject.dataset.grammar.length > 1 else "a word of one cell has no far ones"

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, ConditionalInformation]":
        """Measure the grammar's information, and the network beside the local optima."""
        from diffprobe.probes.conditional_information.information import of_subject

        return of_subject(self, subject, keep)

    def summary(self, results: "Mapping[str, ConditionalInformation]") -> dict[str, Any]:
        """Return, for each radius, the window of noise, and how near the network is."""
        return results["network"].summary()

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the windows and the nearest radius in words."""
        from diffprobe.probes.conditional_information.words import lines

        return lines(summary)

    def draw(
        self, results: "Mapping[str, ConditionalInformation]", subject: "Subject", folder: Path
    ) -> None:
        """Draw information and the network's distance to the local optima over noise levels."""
        from diffprobe.probes.conditional_information.figures import draw

        draw(results["network"], subject, folder)
