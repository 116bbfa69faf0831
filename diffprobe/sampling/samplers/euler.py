"""Euler's method."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class EulerConfig(SamplerKind):
    """Euler's method in sigma / alpha (Karras et al., arXiv:2206.00364), or along a flow."""

    name: ClassVar[str] = "euler"
    flows: ClassVar[bool] = True

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.paths import FlowPath, SchedulerPath

        if schedule.is_flow:
            return FlowPath(schedule, steps)
        return SchedulerPath(self.name, schedule, steps, scheduler="EulerDiscreteScheduler")
