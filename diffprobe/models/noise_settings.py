"""The forward process, as a configuration names it."""

from dataclasses import dataclass
from typing import Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive

MOST_TIMESTEPS = 1_000_000


@dataclass(frozen=True)
class NoiseConfig:
    """The forward process, as in diffusers' DDPMScheduler."""

    timesteps: int = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"

    def __post_init__(self) -> None:
        check_positive(most=MOST_TIMESTEPS, **{"noise.timesteps": self.timesteps})
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UsageError(
                "noise.beta_start and noise.beta_end must rise within (0, 1), "
                f"not {self.beta_start:g} and {self.beta_end:g}"
            )
