"""Spectrum: what a denoiser amplifies, and how symmetrically."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.spectrum.singular_values import Spectrum
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class SpectrumConfig(ProbeKind):
    """Singular values and vectors of the Jacobian, asymmetry, effective rank."""

    name: ClassVar[str] = "spectrum"
    rank: ClassVar[int] = 4
    reads: ClassVar[tuple[str, ...]] = ("probe.seed",)

    images: int = field(default=32, metadata={"help": "Noisy images."})
    values: int = field(default=8, metadata={"help": "Singular values, the largest."})
    iterations: int = field(default=8, metadata={"help": "Subspace iterations."})
    projections: int = field(
        default=16, metadata={"help": "Random vectors behind asymmetry and effective rank."}
    )

    def __post_init__(self) -> None:
        check_at_least(2, "probes.spectrum", images=self.images, projections=self.projections)
        check_at_least(1, "probes.spectrum", values=self.values)
        check_at_least(0, "probes.spectrum", iterations=self.iterations)

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Spectrum]":
        """Measure the spectra of the network and of the optima at the subject's level."""
        from diffprobe.probes.spectrum.singular_values import Spectrum, measure

        return subject.measure_each(keep, Spectrum, measure, self, "bayes", "product")

    def summary(self, results: "Mapping[str, Spectrum]") -> dict[str, Any]:
        """Return the largest singular value, asymmetry and effective rank of each."""
        from diffprobe.foundations.records import estimate

        first = next(iter(results.values()))
        return {
            "t": first.t,
            "log_snr": first.log_snr,
            "images": first.settings["images"],
            **{
                name: {
                    "largest": estimate(r.mean("largest")),
                    "largest_residual": r.value_residual[:, 0].max().item(),
                    "asymmetry": estimate(r.mean("asymmetry")),
                    "effective_rank": estimate(r.mean("effective_rank")),
                }
                for name, r in results.items()
            },
        }

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the headline in words."""
        from diffprobe.foundations.records import interval

        found = [
            f"spectrum of ∂x0_hat/∂x_t (log-SNR {summary['log_snr']:z.2f}, t = {summary['t']})"
        ]
        for name, row in summary.items():
            if isinstance(row, dict):
                parts = [
                    f"{key.replace('_', ' ')} {interval(row[key])}"
                    for key in ("largest", "asymmetry", "effective_rank")
                ]
                found.append(f"  {name:11} " + ", ".join(parts))
        return found

    def draw(self, results: "Mapping[str, Spectrum]", subject: "Subject", folder: Path) -> None:
        """Draw the singular values of all, and the leading vectors of one input as pictures."""
        from diffprobe.probes.spectrum.figures import draw

        draw(results, subject, folder)
