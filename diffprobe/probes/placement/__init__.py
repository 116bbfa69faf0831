"""Placement: where a network stands among the oracles, and the nats of the grammar it misses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.placement.place import Placement
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

# Along training the levels are those that carry this share of the grammar's weight.
CARRIED = 0.9

FOLLOWED = (
    "gamma",
    "scale",
    "mu",
    "unexplained",
    "missed_nats",
    "missed_along_nats",
    "to_product_nats",
)


@dataclass(frozen=True)
class PlacementConfig(ProbeKind):
    """gamma, scale, mu above placebo sets, and the nats that are missed."""

    name: ClassVar[str] = "placement"
    usual: ClassVar[bool] = True
    rank: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("probe.batch_size", "probe.seed")
    captions: ClassVar[Mapping[str, Caption]] = {
        "placement": (
            "Gamma over noise levels",
            "How much of the grammar the network uses (gamma: 0 local, 1 optimal), over the noise "
            "levels where the grammar is worth something (shaded).",
        ),
    }

    images: int = field(default=256, metadata={"help": "Noisy images per noise level."})
    levels: int = field(default=41, metadata={"help": "Noise levels."})
    placebos: int = field(
        default=8, metadata={"help": "Other sets of words that the training set is compared with."}
    )

    def __post_init__(self) -> None:
        check_at_least(3, "probes.placement", images=self.images)
        check_at_least(1, "probes.placement", levels=self.levels)
        check_at_least(2, "probes.placement", placebos=self.placebos)

    def unfit(self, subject: "Subject") -> str | None:
        """Without a grammar there is no optimum to stand beside."""
        return NO_GRAMMAR if subject.dataset is None else None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Placement]":
        """Place the network among the oracles."""
        from diffprobe.probes.placement.place import place_subject

        return place_subject(self, subject, keep)

    def glance(self, subject: "Subject", keep: "Keep") -> "dict[str, Placement] | None":
        """Place the network at the levels that carry nine tenths of the grammar's weight."""
        from diffprobe.probes.placement.place import place_subject

        if subject.weight is None:
            return None
        return place_subject(self, subject, keep, subject.weight.carrying(CARRIED))

    def summary(self, results: "Mapping[str, Placement]") -> dict[str, Any]:
        """Return the numbers over all noise levels."""
        return results["network"].summary()

    def followed(self, summary: Mapping[str, Any], subject: "Subject") -> dict[str, Any]:
        """Return gamma, scale, mu, the unexplained share, and what is missed in nats."""
        return {name: summary[name] for name in FOLLOWED}

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return gamma, scale, mu, what is missed, and how far the product oracle is, in words."""
        from diffprobe.probes.placement.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, Placement]", subject: "Subject", folder: Path) -> None:
        """Draw gamma and mu over the weight of the grammar."""
        from diffprobe.probes.placement.figures import draw

        draw(results["network"], subject, folder)
