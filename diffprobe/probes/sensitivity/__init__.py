"""Sensitivity: how strongly one region's output depends on every input pixel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.sensitivity.maps import Sensitivity
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class SensitivityConfig(ProbeKind):
    """How strongly one region's output depends on every input pixel."""

    name: ClassVar[str] = "sensitivity"
    rank: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = (
        "probe.images",
        "probe.output",
        "probe.region",
        "probe.batch_size",
        "probe.seed",
    )

    projections: int = field(
        default=2,
        metadata={"help": "Random projections, 2 or more; 0 computes the Jacobian exactly."},
    )

    def __post_init__(self) -> None:
        check_at_least(0, "probes.sensitivity", projections=self.projections)
        if self.projections == 1:
            raise UsageError(
                "probes.sensitivity.projections must be at least 2, or 0 for the exact Jacobian"
            )

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Sensitivity]":
        """Measure the maps of the network and of the optima at the subject's level."""
        from diffprobe.probes.sensitivity.maps import Sensitivity, measure

        return subject.measure_each(
            keep, Sensitivity, measure, self, "bayes", "product", regions=subject.regions
        )

    def summary(self, results: "Mapping[str, Sensitivity]") -> dict[str, Any]:
        """Return the share of each map inside its region."""
        from diffprobe.foundations.records import estimate
        from diffprobe.probes.sensitivity.maps import beside_the_optimum

        results = beside_the_optimum(results)
        first = next(iter(results.values()))
        return {
            "t": first.t,
            "log_snr": first.log_snr,
            "region": first.region,
            "images": first.settings["images"],
            "local_share": {name: estimate(r.local_share) for name, r in results.items()},
        }

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the headline in words."""
        from diffprobe.foundations.records import interval

        shares = ", ".join(f"{who} {interval(e)}" for who, e in summary["local_share"].items())
        return [f"sensitivity of region {summary['region']}: share inside {shares}"]

    def draw(self, results: "Mapping[str, Sensitivity]", subject: "Subject", folder: Path) -> None:
        """Draw the maps on one scale."""
        from diffprobe.probes.sensitivity.figures import draw

        draw(results, subject, folder)
