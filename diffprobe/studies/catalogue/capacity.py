"""Width against local generation, on parity of the hypercube."""

from dataclasses import dataclass
from typing import ClassVar

from diffprobe.studies.catalogue import TINY, StudyKind, check_scale
from diffprobe.studies.grid import Grid, grid_of

# Scale -> widths, seeds and steps.
SIZES = {
    "tiny": ([16, 32], 2, 24),
    "cpu": ([64, 256, 1024], 5, 3000),
    "gpu": ([64, 256, 1024, 4096], 10, 20000),
}


@dataclass(frozen=True)
class Capacity(StudyKind):
    """Whether a two-layer network leaves local generation, and a wider one sooner."""

    name: ClassVar[str] = "capacity"

    def questions(self, scale: str) -> tuple[Grid, ...]:
        """Return the one question; see `StudyKind.questions`."""
        check_scale(scale)
        widths, seeds, steps = SIZES[scale]
        narrow, wide = widths[0], widths[-1]
        settings = {
            "title": "Width",
            "question": "Does a two-layer network on parity of four signs leave local generation "
            "as it is trained, and does a wider one leave it sooner?",
            "base": "hypercube-mlp",
            "seeds": seeds,
            "measures": ["excess_ldr", "gamma", "grammatical", "legible", "loss"],
            "along": True,
            "fixed": {
                "grammar.length": 4,
                "images.grid": [2, 2],
                "training.steps": steps,
                "training.checkpoints": 8 if scale != "tiny" else 3,
                **(TINY if scale == "tiny" else {}),
            },
            "settings": {"network.width": widths},
            "claims": [
                {
                    "text": "Before it learns, the widest network is more local than the optimum.",
                    "measure": "excess_ldr",
                    "where": {"network.width": wide, "step": "first"},
                    "above": 0.1,
                },
                {
                    "text": "With training the widest network becomes less local.",
                    "measure": "excess_ldr",
                    "where": {"network.width": wide},
                    "between": {"step": ["last", "first"]},
                    "expect": "less",
                    "margin": 0.05,
                },
                {
                    "text": "At the end the widest network is less local than the narrowest.",
                    "measure": "excess_ldr",
                    "between": {"network.width": [wide, narrow]},
                    "expect": "less",
                    "margin": 0.05,
                },
                {
                    "text": "The more units, the more of the grammar is used.",
                    "measure": "gamma",
                    "trend": "increasing",
                    "against": "network.width",
                },
                {
                    "text": "The widest network's legible samples obey the rule more often than by "
                    "chance.",
                    "measure": "grammatical",
                    "where": {"network.width": wide},
                    "above": 0.5,
                },
            ],
            "figures": [
                {"y": "excess_ldr", "colour": "network.width"},
                {"y": "gamma", "colour": "network.width"},
                {"y": "grammatical", "colour": "network.width"},
            ],
        }
        return (grid_of(settings),)
