"""Locality: on what a region's output depends, over noise levels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.locality.ldr import Locality
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class LocalityConfig(ProbeKind):
    """LDR and excess LDR over noise levels, dependence matrix, decay with distance."""

    name: ClassVar[str] = "locality"
    usual: ClassVar[bool] = True
    rank: ClassVar[int] = 0
    reads: ClassVar[tuple[str, ...]] = (
        "probe.images",
        "probe.levels",
        "probe.precision",
        "probe.precision_images",
        "probe.output",
        "probe.batch_size",
        "probe.seed",
    )
    captions: ClassVar[Mapping[str, Caption]] = {
        "ldr": (
            "Local dependency ratio over noise levels",
            "Noisy images are at the left. The network, the exact optimum, and the optimum that "
            "ignores the grammar; below, the network’s excess over the optimum. Bands are 95 % "
            "intervals.",
        ),
        "dependence": (
            "Who listens to whom",
            "Which input cell (column) each output cell (row) listens to, network above and Bayes "
            "optimum below, from high noise to low.",
        ),
    }

    projections: int = field(
        default=2,
        metadata={
            "help": "Random projections per region, 2 or more; 0 computes the Jacobian exactly."
        },
    )
    variant: Literal["squared", "frobenius", "l1"] = field(
        default="squared", metadata={"help": "Norm of the local dependency ratio."}
    )

    def __post_init__(self) -> None:
        check_at_least(0, "probes.locality", projections=self.projections)
        if self.projections == 1:
            raise UsageError(
                "probes.locality.projections must be at least 2, whose spread takes the bias of a "
                "ratio away, or 0 for the exact Jacobian"
            )

    def cost(self, subject: "Subject") -> str:
        """Return in words what one noise level costs."""
        from diffprobe.probes.locality.ldr import cost

        known = subject.dataset is not None
        return cost(subject.regions, self, subject.config.probe, grammar_known=known)

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Locality]":
        """Measure network and oracles on the same inputs."""
        from diffprobe.probes.locality.beside import measure_beside

        return measure_beside(self, subject, keep)

    def glance(self, subject: "Subject", keep: "Keep") -> "dict[str, Locality]":
        """Measure network and optimum at the subject's level."""
        from diffprobe.probes.locality.beside import measure_level

        return measure_level(self, subject, keep)

    def summary(self, results: "Mapping[str, Locality]") -> dict[str, Any]:
        """Return LDR and excess LDR at every level, and the pooled ratios beside them."""
        from diffprobe.probes.locality.words import summary

        return summary(results)

    def followed(self, summary: Mapping[str, Any], subject: "Subject") -> dict[str, Any]:
        """Return the LDR at the subject's level, and the optimum's."""
        level = next(row for row in summary["levels"] if row["t"] == subject.level)
        return {"ldr": level["ldr"]["network"], "bayes_ldr": level["ldr"].get("bayes")}

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return LDR and excess where symbols form and at the subject's level, in words."""
        from diffprobe.probes.locality.words import lines

        return lines(summary, subject)

    def draw(self, results: "Mapping[str, Locality]", subject: "Subject", folder: Path) -> None:
        """Draw LDR and excess over noise levels, dependence matrices, decay with distance."""
        from diffprobe.probes.locality.figures import draw

        draw(results, subject, folder)
