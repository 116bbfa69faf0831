"""The law of loss curves, on a denoiser."""

from dataclasses import dataclass
from typing import Any, ClassVar

from diffprobe.studies.catalogue import StudyKind, check_scale
from diffprobe.studies.grid import Grid, grid_of

# Scale -> seeds, and what the trainings are.
SIZES: dict[str, tuple[int, dict[str, Any]]] = {
    "tiny": (2, {"steps": 60, "batch_size": 16, "width": 16, "validation_size": 32}),
    "cpu": (6, {"steps": 4000}),
    "gpu": (10, {"steps": 20000, "width": 256, "batch_size": 256}),
}


@dataclass(frozen=True)
class LossLawStudy(StudyKind):
    """What a law fitted to three trainings foretells of others, and whether to train by it."""

    name: ClassVar[str] = "loss-law"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the one question; see `StudyKind.questions`."""
        check_scale(scale)
        seeds, fixed = SIZES[scale]
        names = ("r2", "error", "error_momentum", "error_no_drop", "optimised", "cosine", "wsd")
        settings = {
            "title": "Foretelling schedules",
            "question": "Fitted to a constant, a cosine and a two-stage training of a denoiser, "
            "does the multi-power law foretell five other schedules, and does the schedule that is "
            "best by it end lowest?",
            "computation": "loss-law",
            "seeds": seeds,
            "measures": [f"loss-law.{name}" for name in (*names, "over_wsd", "promised")],
            "fixed": fixed,
            "claims": [
                {
                    "text": "The law is off by less than half a hundredth of the loss, on average "
                    "over schedules that it has not seen.",
                    "measure": "loss-law.error",
                    "below": 0.005,
                },
                {
                    "text": "It is less off than a law without a term of the decay.",
                    "between": {"measure": ["loss-law.error", "loss-law.error_no_drop"]},
                    "expect": "less",
                },
                {
                    "text": "It is less off than the momentum law.",
                    "between": {"measure": ["loss-law.error", "loss-law.error_momentum"]},
                    "expect": "less",
                },
                {
                    "text": "The schedule that is best by the law ends below a cosine.",
                    "between": {"measure": ["loss-law.optimised", "loss-law.cosine"]},
                    "expect": "less",
                },
                {
                    "text": "It ends less than half a hundredth of the loss above WSD.",
                    "measure": "loss-law.over_wsd",
                    "below": 0.005,
                },
            ],
        }
        return (grid_of(settings),)
