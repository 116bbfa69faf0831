"""Intervention: change one cell of the input, see what changes where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.intervention.beside import Measured
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class InterventionConfig(ProbeKind):
    """Redraw the noise or the symbol in one cell, see what changes where."""

    name: ClassVar[str] = "intervention"
    rank: ClassVar[int] = 5
    # The Jacobian's picture, which stands beside it, is that of the locality probe.
    reads: ClassVar[tuple[str, ...]] = (
        "probe.images",
        "probe.precision",
        "probe.output",
        "probe.batch_size",
        "probe.seed",
        "probes.locality",
    )
    captions: ClassVar[Mapping[str, Caption]] = {
        "intervention": (
            "Where a change goes",
            "What changes in which output region (row) when one region of the input (column) is "
            "changed: by the Jacobian, by other noise, by another symbol.",
        ),
    }

    images: int = field(default=256, metadata={"help": "Noisy images."})

    def __post_init__(self) -> None:
        check_at_least(2, "probes.intervention", images=self.images)

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Measured]":
        """Intervene in noise and symbols, and take the Jacobian's matrix at the same level."""
        from diffprobe.probes.intervention.beside import measure_beside

        return measure_beside(self, subject, keep)

    def summary(self, results: "Mapping[str, Measured]") -> dict[str, Any]:
        """Return the local share by denoiser and kind."""
        from diffprobe.probes.intervention.beside import summary

        return summary(results)

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the headline in words."""
        from diffprobe.foundations.records import interval

        where = f"log-SNR {summary['log_snr']:z.2f}, t = {summary['t']}"
        found = [f"local share of the change ({where})"]
        for kind, shares in summary["local_share"].items():
            text = ", ".join(f"{who} {interval(e)}" for who, e in shares.items())
            found.append(f"  {kind:11} {text}")
        return found

    def draw(self, results: "Mapping[str, Measured]", subject: "Subject", folder: Path) -> None:
        """Draw Jacobian, redrawn noise and redrawn symbols, a row for each denoiser."""
        from diffprobe.probes.intervention.figures import draw

        draw(results, subject, folder)
