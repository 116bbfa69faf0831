"""DDIM."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_share
from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class DDIMConfig(SamplerKind):
    """DDIM: along the probability flow at eta 0, with DDPM's noise at 1 (arXiv:2010.02502)."""

    name: ClassVar[str] = "ddim"
    flows: ClassVar[bool] = True
    eta: float = 0.0

    def __post_init__(self) -> None:
        check_share(eta=self.eta)

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`. Of a flow it is Euler's."""
        from diffprobe.sampling.paths import FlowPath, SchedulerPath

        if not schedule.is_flow:
            options = {"eta": self.eta}
            return SchedulerPath(
                self.name, schedule, steps, scheduler="DDIMScheduler", step_options=options
            )
        if self.eta:
            raise UsageError("along a flow the sampler ddim has no eta; leave sampler.eta at 0")
        return FlowPath(schedule, steps)
