"""DDIM with stretches of its path walked again from fresh noise."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_at_least, check_positive
from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class ResamplingConfig(SamplerKind):
    """DDIM that goes up in noise and down again `repeats` times, after every `jump` steps.

    Only within a `window` of log-SNR; fresh noise lets it leave where it is stuck (RePaint,
    arXiv:2201.09865, after the idea of arXiv:2605.06831).
    """

    name: ClassVar[str] = "resampling"
    flows: ClassVar[bool] = True
    repeats: int = 1
    jump: int = 1
    window: tuple[float, float] = (-20.0, 20.0)

    def __post_init__(self) -> None:
        check_at_least(0, "sampler", repeats=self.repeats)
        check_positive(**{"sampler.jump": self.jump})
        low, high = self.window
        if not low < high:
            raise UsageError(
                "sampler.window must be two log-SNR, the first the smaller, not "
                f"[{low:g}, {high:g}]"
            )

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.resampling_path import ResamplingPath

        return ResamplingPath(
            schedule, steps, repeats=self.repeats, jump=self.jump, window=self.window
        )
