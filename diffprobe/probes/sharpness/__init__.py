"""Sharpness: how the denoising loss bends with a network's weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.sharpness.traces import Sharpness
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

NO_WEIGHTS = "the denoiser shows no weights to take derivatives in"
# Sixteen blocks' diagonals of these are 6 GiB.
MOST_WEIGHTS = 20_000_000


@dataclass(frozen=True)
class SharpnessConfig(ProbeKind):
    """Traces and largest eigenvalues of the Hessian of the denoising loss in the weights."""

    name: ClassVar[str] = "sharpness"
    rank: ClassVar[int] = 9
    reads: ClassVar[tuple[str, ...]] = ("probe.seed",)
    captions: ClassVar[Mapping[str, Caption]] = {
        "sharpness": (
            "Sharpness",
            "How the denoising loss bends with the weights: tr(H), tr(Diag(G)^½) of its "
            "Gauss–Newton part G, and the largest eigenvalue of H, at ranges of noise; and how "
            "the traces of G are shared among the layers. Bars are 95 % intervals.",
        ),
    }

    images: int = field(
        default=64, metadata={"help": "Noisy images of each noise level, in 16 blocks."}
    )
    levels: int = field(default=5, metadata={"help": "Noise levels: equal ranges of t."})
    projections: int = field(
        default=2, metadata={"help": "Random vectors for each block and noise level."}
    )
    values: int = field(default=4, metadata={"help": "Eigenvalues, the largest."})
    iterations: int = field(default=12, metadata={"help": "Lanczos iterations."})

    def __post_init__(self) -> None:
        section = "probes.sharpness"
        check_at_least(2, section, images=self.images)
        check_at_least(
            1, section, levels=self.levels, projections=self.projections, values=self.values
        )
        check_at_least(self.values, section, iterations=self.iterations)

    def unfit(self, subject: "Subject") -> str | None:
        """It is for what predicts with weights, as many as their diagonals can be held of."""
        from diffprobe.models.denoiser import PredictionDenoiser

        weights = sum(p.numel() for p in subject.denoiser.parameters())
        if not isinstance(subject.denoiser, PredictionDenoiser) or not weights:
            return NO_WEIGHTS
        if weights > MOST_WEIGHTS:
            return f"it has {weights:,} weights; diagonals are held of {MOST_WEIGHTS:,} at most"
        return None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Sharpness]":
        """Measure the network; the Bayes oracle, where it is known, stands in for the images."""
        from diffprobe.probes.sharpness.traces import Sharpness, measure

        def result() -> Sharpness:
            return measure(
                subject.denoiser,
                subject.images,
                self,
                subject.config.probe,
                bayes=subject.oracles.get("bayes"),
                progress=subject.progress,
            )

        return {"network": keep("network", Sharpness, result)}

    def summary(self, results: "Mapping[str, Sharpness]") -> dict[str, Any]:
        """Return the traces and eigenvalues, overall, by noise level and by layer."""
        from diffprobe.probes.sharpness.words import summary

        return summary(results["network"])

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the summary in words."""
        from diffprobe.probes.sharpness.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, Sharpness]", subject: "Subject", folder: Path) -> None:
        """Draw the measures over the noise, and the shares of the layers."""
        from diffprobe.probes.sharpness.figures import draw

        draw(results["network"], subject, folder)
