"""Samplers and a denoiser tuned to budgets of function evaluations."""

from dataclasses import dataclass
from typing import Any, ClassVar

from diffprobe.studies.catalogue import StudyKind, check_scale
from diffprobe.studies.grid import Grid, grid_of

# Scale -> seeds, and how much is trained, sought and judged.
SIZES: dict[str, tuple[int, dict[str, Any]]] = {
    "tiny": (
        2,
        {
            "steps": 60,
            "width": 16,
            "length": 4,
            "most": 4,
            "generations": 1,
            "samples": 16,
            "rounds": 1,
            "judged": 100,
        },
    ),
    "cpu": (5, {"steps": 4000}),
    "gpu": (10, {"steps": 20000, "width": 512, "length": 8, "most": 64, "judged": 10000}),
}
MEASURES = (
    "gap_plain",
    "gap_best",
    "gap_exponential",
    "gap_uniform",
    "gap_dense",
    "closed_exponential",
    "closed_uniform",
    "closed_dense",
    "over_dense",
    "gap_noisy",
    "gap_reward",
    "words_before",
    "words_after",
)


@dataclass(frozen=True)
class FrontierStudy(StudyKind):
    """What tuning a sampler, or the denoiser, to budgets closes of the gap to the optimum."""

    name: ClassVar[str] = "frontier"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the one question; see `StudyKind.questions`."""
        check_scale(scale)
        seeds, fixed = SIZES[scale]
        settings = {
            "title": "The efficiency gap",
            "question": "How much of the area between a denoiser's valid rate by budget and the "
            "optimum's does a sampler close whose noise levels and noise are tuned at a few "
            "budgets, and what does reward fine-tuning of the denoiser buy, and cost?",
            "computation": "frontier",
            "seeds": seeds,
            "measures": [f"frontier.{name}" for name in MEASURES],
            "fixed": fixed,
            "claims": [
                {
                    "text": "Tuned at exponential budgets, the sampler closes more than half of "
                    "DDIM's gap to the optimum.",
                    "measure": "frontier.closed_exponential",
                    "above": 0.5,
                },
                {
                    "text": "It is nearer to the optimum than the best of three plain samplers at "
                    "each budget.",
                    "between": {"measure": ["frontier.gap_exponential", "frontier.gap_best"]},
                    "expect": "less",
                },
                {
                    "text": "Exponential budgets do as well as dense ones: their gap is larger by "
                    "less than 0.1, a thirtieth of the rate over three octaves.",
                    "measure": "frontier.over_dense",
                    "below": 0.1,
                },
                {
                    "text": "Exponential budgets leave less of the gap than as many that are "
                    "evenly spaced.",
                    "between": {"measure": ["frontier.gap_exponential", "frontier.gap_uniform"]},
                    "expect": "less",
                },
                {
                    "text": "Reward at a few budgets brings the denoiser nearer to the optimum, "
                    "by the same sampler.",
                    "between": {"measure": ["frontier.gap_reward", "frontier.gap_noisy"]},
                    "expect": "less",
                },
                {
                    "text": "It costs variety: the valid samples have fewer effective words.",
                    "between": {"measure": ["frontier.words_after", "frontier.words_before"]},
                    "expect": "less",
                },
            ],
        }
        return (grid_of(settings),)
