"""Two layers: what each neuron serves, and where the loss stands still, along training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.two_layer.losses import TwoLayer
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class TwoLayerConfig(ProbeKind):
    """The neurons of a two-layer network on the hypercube, along training."""

    name: ClassVar[str] = "two-layer"
    rank: ClassVar[int] = 8
    # It goes along the checkpoints itself.
    along: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = (
        "probe.grammar_images",
        "probe.grammar_levels",
        "probe.seed",
    )

    levels: int = field(default=3, metadata={"help": "Noise levels."})
    draws: int = field(
        default=128, metadata={"help": "Of the noise for each word, which make the loss; even."}
    )
    threshold: float = field(
        default=0.95, metadata={"help": "Cosine from which on a neuron serves a direction."}
    )
    tolerance: float = field(
        default=0.1, metadata={"help": "How near the product's loss the plateau is, as a share."}
    )

    def __post_init__(self) -> None:
        check_at_least(1, "probes.two-layer", levels=self.levels)
        if self.draws < 4 or self.draws % 2:
            raise UsageError(
                f"probes.two-layer.draws must be even and at least 4, not {self.draws}"
            )
        for name in ("threshold", "tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(
                    f"probes.two-layer.{name} must lie in (0, 1), not {getattr(self, name)}"
                )

    def unfit(self, subject: "Subject") -> str | None:
        """It is for runs of a network of two layers on the hypercube."""
        if subject.dataset is None:
            return NO_GRAMMAR
        if subject.architecture != "mlp" or subject.run is None:
            return "it is for a run of the two-layer network (network.name = 'mlp')"
        if subject.config.images.name != "pixels":
            return "it is for the hypercube (images.name = 'pixels')"
        return None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, TwoLayer]":
        """Measure all checkpoints of a run up to the one that is probed."""
        from diffprobe.probes.two_layer.losses import measure_run

        return measure_run(self, subject, keep)

    def summary(self, results: "Mapping[str, TwoLayer]") -> dict[str, Any]:
        """Return the plateau, how far the last checkpoint got, and what its neurons serve."""
        from diffprobe.probes.two_layer.words import summary

        return summary(results["network"])

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the summary in words."""
        from diffprobe.probes.two_layer.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, TwoLayer]", subject: "Subject", folder: Path) -> None:
        """Draw the losses at each level above, and what neurons serve below."""
        from diffprobe.probes.two_layer.figures import draw

        draw(results["network"], folder)
