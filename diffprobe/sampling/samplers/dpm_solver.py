"""DPM-Solver++."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class DPMSolverConfig(SamplerKind):
    """DPM-Solver++, a multistep solver of the probability flow (arXiv:2211.01095)."""

    name: ClassVar[str] = "dpm-solver++"
    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise UsageError(f"sampler.order must be 1, 2 or 3, not {self.order}")

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.paths import SchedulerPath

        return SchedulerPath(
            self.name,
            schedule,
            steps,
            scheduler="DPMSolverMultistepScheduler",
            solver_order=self.order,
        )
