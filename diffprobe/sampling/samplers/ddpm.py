"""DDPM."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class DDPMConfig(SamplerKind):
    """Ancestral sampling, with fresh noise at every step (arXiv:2006.11239)."""

    name: ClassVar[str] = "ddpm"

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.paths import SchedulerPath

        return SchedulerPath(self.name, schedule, steps, scheduler="DDPMScheduler")
