"""Detectors: which score of a single sample tells that it breaks the grammar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.detectors.scores import Detectors
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True)
class DetectorsConfig(ProbeKind):
    """Can hallucinated samples be told from valid ones along the sampling path."""

    name: ClassVar[str] = "detectors"
    rank: ClassVar[int] = 6
    reads: ClassVar[tuple[str, ...]] = (
        "probe.grammar_images",
        "probe.grammar_levels",
        "probe.batch_size",
        "probe.seed",
        "sampler",
        "sampling",
    )
    captions: ClassVar[Mapping[str, Caption]] = {
        "detectors": (
            "Can hallucinated samples be told from valid ones?",
            "Area under the ROC curve of each score, chance 0.5. Bars are 95 % intervals.",
        ),
        "detectors-by-verdict": (
            "Were hallucinated samples made otherwise than valid ones?",
            "Excess LDR at each sample’s own input, and by how much invalid samples differ from "
            "valid ones. Bars are 95 % intervals over samples.",
        ),
    }

    samples: int = field(default=1000, metadata={"help": "Samples that are scored and judged."})
    window: tuple[float, float] = field(
        default=(0.8, 1.0),
        metadata={"help": "Part of the path, 0 noise to 1 image, whose variance is taken."},
    )
    projections: int = field(
        default=8, metadata={"help": "Random projections per region behind each sample's LDR."}
    )
    renoisings: int = field(
        default=8, metadata={"help": "How often each sample is noised again and read."}
    )

    def __post_init__(self) -> None:
        check_at_least(
            1,
            "probes.detectors",
            samples=self.samples,
            renoisings=self.renoisings,
        )
        # The bias of a ratio is told from how projections differ.
        check_at_least(2, "probes.detectors", projections=self.projections)
        low, high = self.window
        if not 0 <= low < high <= 1:
            raise UsageError(
                f"probes.detectors.window must be two shares of the path, from 0 (noise) to 1 "
                f"(image), the first the smaller, not ({low}, {high})"
            )

    def unfit(self, subject: "Subject") -> str | None:
        """Detectors are scored by a grammar's verdicts."""
        return NO_GRAMMAR if subject.dataset is None else None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Detectors]":
        """Score the detectors on the network's samples and, as a control, on the product oracle's.

        The Bayes oracle's samples are nearly all valid: there is nothing to detect.
        """
        from diffprobe.probes.detectors.scores import measure_beside

        return measure_beside(self, subject, keep)

    def summary(self, results: "Mapping[str, Detectors]") -> dict[str, Any]:
        """Return the AUROCs, their corrected p, what they rest on, and how samples were made.

        "best" is the detector of the largest AUROC among those that do not know the grammar; its
        interval is that of one chosen beforehand. How samples were made is told by verdict:
        `excess_ldr.difference` is that of the invalid ones less that of the valid ones.
        """
        from diffprobe.foundations.records import estimate
        from diffprobe.probes.detectors.scores import best

        return {
            name: {
                "samples": len(result.legible),
                "invalid": result.invalid,
                "t": result.t,
                "log_snr": result.log_snr,
                "window": result.settings["window"],
                "window_is_default": tuple(result.settings["window"]) == DetectorsConfig().window,
                "auroc": result.auroc,
                "best": {"detector": best(result), "auroc": result.auroc[best(result)]},
                "p_corrected": result.corrected,
                **{
                    quantity: {verdict: estimate(found) for verdict, found in told.items()}
                    for quantity, told in result.by_verdict.items()
                },
            }
            for name, result in results.items()
        }

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the network's AUROCs in words, and what its samples are by verdict."""
        from diffprobe.probes.detectors.words import areas, by_verdict

        return [*areas(summary["network"]), *by_verdict(summary["network"])]

    def draw(self, results: "Mapping[str, Detectors]", subject: "Subject", folder: Path) -> None:
        """Draw the forest of AUROCs, the scores of two detectors, and samples by verdict."""
        from diffprobe.probes.detectors.figures import draw

        draw(results, subject, folder)
