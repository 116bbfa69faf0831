"""Attribution: maps of one region's output, where they agree, and which of them tell the truth.

The network's output is attributed, and the Bayes denoiser's. Which method tells what an output
really depends on is known for the latter: `judging` ranks its maps, from every baseline, against
exact effects. Each ± is a 95 % interval over images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import lazy_loader

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.attribution.given import measure as measure
    from diffprobe.probes.attribution.judging import Measured
    from diffprobe.probes.attribution.maps import Attribution as Attribution
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"given": ["measure"], "maps": ["Attribution"]}
)


@dataclass(frozen=True)
class AttributionConfig(ProbeKind):
    """Attribution methods for one region's output, their agreement and their truth.

    Cells are replaced by those of `baseline`. The `output` "contrast" is the projection on the
    difference of a cell's two likeliest glyphs instead of a plain sum. `images` may be fewer or
    more as the `precision` of the first method's local share needs; see `probing.precision`.
    """

    name: ClassVar[str] = "attribution"
    usual: ClassVar[bool] = True
    rank: ClassVar[int] = 2
    one_sample: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = (
        "probe.precision",
        "probe.precision_images",
        "probe.region",
        "probe.sample",
        "probe.batch_size",
        "probe.seed",
    )
    captions: ClassVar[Mapping[str, Caption]] = {
        "attribution": (
            "Where one cell’s output comes from",
            "By several attribution methods, network and Bayes optimum; the cell is outlined.",
        ),
        "attribution-truth": (
            "Which attribution method tells the truth",
            "Rank correlation of its map of the exact optimum, by cell, with the exact effect of "
            "redrawing a cell. Bars are 95 % intervals.",
        ),
    }

    images: int = field(default=64, metadata={"help": "Noisy images."})
    methods: tuple[str, ...] = field(
        default=(
            "saliency",
            "input-x-gradient",
            "integrated-gradients-zeros",
            "integrated-gradients-prior-mean",
            "integrated-gradients-noisy-image",
            "occlusion",
            "feature-ablation",
            "shapley",
        ),
        metadata={"help": "Names of methods."},
    )
    output: Literal["sum", "contrast"] = field(
        default="sum", metadata={"help": "What number of the region's output is attributed."}
    )
    baseline: Literal["zeros", "prior-mean", "noisy-image"] = field(
        default="noisy-image", metadata={"help": "What cells are replaced by."}
    )
    integration_steps: int = field(
        default=32, metadata={"help": "Steps of the integral of integrated gradients."}
    )
    shapley_samples: int = field(
        default=-1,
        metadata={
            "help": "Random orders of cells, where all coalitions would cost more, half of them "
            "the others reversed; -1 for 64, or 16 without a grammar."
        },
    )
    redraws: int = field(
        default=64, metadata={"help": "Of each cell, of which true effects are a mean."}
    )
    metric_images: int = field(
        default=-1,
        metadata={
            "help": "Images of infidelity and sensitivity-max, which cost more than maps; -1 for "
            "12, or none without a grammar."
        },
    )

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("probes.attribution.methods names no method")
        for least, name in (
            (2, "images"),
            (1, "integration_steps"),
            (1, "redraws"),
            (-1, "metric_images"),
        ):
            check_at_least(least, "probes.attribution", **{name: getattr(self, name)})
        if self.shapley_samples != -1 and (self.shapley_samples < 4 or self.shapley_samples % 2):
            raise UsageError(
                "probes.attribution.shapley_samples must be 4, 6, … (an order and its reverse are "
                f"one draw, and two tell the error), or -1; not {self.shapley_samples}"
            )

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, Measured]":
        """Attribute the network's output, beside it the optimum's, and judge the methods by it."""
        from diffprobe.probes.attribution.judging import measure_beside
        from diffprobe.probes.attribution.one_sample import measure_sample

        if subject.sample is not None:
            return measure_sample(self, subject, keep)
        return measure_beside(self, subject, keep)

    def summary(self, results: "Mapping[str, Measured]") -> dict[str, Any]:
        """Return local shares, agreements with the optimum and the truth, and what is not exact."""
        from diffprobe.probes.attribution.words import summary

        return summary(results)

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the headline in words."""
        from diffprobe.probes.attribution.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, Measured]", subject: "Subject", folder: Path) -> None:
        """Draw one image's maps; agreement of methods and shares; which methods tell the truth."""
        from diffprobe.probes.attribution.figures import draw

        draw(results, subject, folder)
