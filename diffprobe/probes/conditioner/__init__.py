"""Conditioner locality: which token of its condition does each region listen to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.conditioner.listening import Listening
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class ConditionerConfig(ProbeKind):
    """Which token of its condition, a word's or a prompt's, each region listens to."""

    name: ClassVar[str] = "conditioner"
    rank: ClassVar[int] = 6
    reads: ClassVar[tuple[str, ...]] = (
        "condition",
        "probe.images",
        "probe.batch_size",
        "probe.seed",
    )
    captions: ClassVar[Mapping[str, Caption]] = {
        "conditioner": (
            "Who listens to what is told",
            "What changes in which region (row) when a token of the condition (column) is replaced "
            "by another, and how the output depends on the tokens’ embeddings: the network, the "
            "exact optimum on the same conditions, and the same network untrained.",
        ),
    }

    projections: int = field(
        default=4, metadata={"help": "Random projections per region, 2 or more."}
    )

    def __post_init__(self) -> None:
        check_at_least(2, "probes.conditioner", projections=self.projections)

    def unfit(self, subject: "Subject") -> str | None:
        """It is for networks that are told a condition of tokens."""
        from diffprobe.probes.conditioner.beside import unfit

        return unfit(subject)

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Listening]":
        """Replace tokens, and take the Jacobian in their embeddings, at the subject's level."""
        from diffprobe.probes.conditioner.beside import measure_beside

        return measure_beside(self, subject, keep)

    def summary(self, results: "Mapping[str, Listening]") -> dict[str, Any]:
        """Return the share of the own token and the tokens listened to, by kind and denoiser."""
        from diffprobe.probes.conditioner.words import summary

        return summary(results)

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the headline in words."""
        from diffprobe.probes.conditioner.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, Listening]", subject: "Subject", folder: Path) -> None:
        """Draw the matrices of regions by tokens."""
        from diffprobe.probes.conditioner.figures import draw

        draw(results, subject, folder)
