"""DDIM with noise levels and stochasticity that were chosen for each number of steps."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive, check_share
from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath

# Of one number of steps: exponents at the clean and the noisy end, eta of the first and last step.
Numbers = tuple[float, float, float, float]
PLAIN: Numbers = (1.0, 1.0, 0.0, 0.0)  # DDIM's


@dataclass(frozen=True)
class TunedConfig(SamplerKind):
    """DDIM with noise levels and eta that `diffprobe tune sampler` chose for each budget of steps.

    Noise level t of T, evenly spaced as u in (0, 1], lies at 1 - (1 - u^clean)^noisy instead; eta
    goes on a line from its first to its last step. Between two `budgets` of steps the numbers lie
    on a line in log(steps), beyond them they are the last's.
    """

    name: ClassVar[str] = "tuned"
    flows: ClassVar[bool] = True
    budgets: tuple[int, ...] = (10,)
    clean: tuple[float, ...] = (1.0,)
    noisy: tuple[float, ...] = (1.0,)
    first_eta: tuple[float, ...] = (0.0,)
    last_eta: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not self.budgets or any(b <= a for a, b in pairwise(self.budgets)):
            raise UsageError(
                "sampler.budgets must be numbers of steps, each above the one before it, not "
                f"{list(self.budgets)}"
            )
        check_positive(**{f"sampler.budgets[{i}]": n for i, n in enumerate(self.budgets)})
        for name in ("clean", "noisy", "first_eta", "last_eta"):
            values = getattr(self, name)
            if len(values) != len(self.budgets):
                raise UsageError(
                    f"sampler.{name} needs a number for each of the {len(self.budgets)} "
                    f"sampler.budgets, and has {len(values)}"
                )
            if name.endswith("eta"):
                check_share(**{f"{name}[{i}]": value for i, value in enumerate(values)})
            elif bad := [value for value in values if not 0 < value < math.inf]:
                raise UsageError(f"sampler.{name} must be positive, not {bad[0]:g}")

    @classmethod
    def of(cls, numbers: dict[int, Numbers]) -> "TunedConfig":
        """Return the sampler with these numbers at each budget of steps."""
        budgets = tuple(sorted(numbers))
        return cls(budgets, *zip(*(numbers[n] for n in budgets), strict=True))

    def at(self, steps: int) -> Numbers:
        """Return the numbers for so many steps."""
        x = math.log(steps)
        known = [math.log(n) for n in self.budgets]
        columns = (self.clean, self.noisy, self.first_eta, self.last_eta)
        clean, noisy, first, last = (_between(x, known, values) for values in columns)
        return clean, noisy, first, last

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.bent_path import BentPath

        return BentPath(schedule, steps, *self.at(steps))

    @property
    def title(self) -> str:
        """What it is called in figures and tables: the budgets alone."""
        return f"tuned at {_spelled(self.budgets)} steps"

    @property
    def label(self) -> str:
        """For a file's name; the numbers would be too many."""
        told: Any = sorted(vars(self).items())
        return f"_{hashlib.sha256(repr(told).encode()).hexdigest()[:8]}"


def _between(x: float, known: Sequence[float], values: Sequence[float]) -> float:
    """The value at `x` on lines between those known, and the outermost beyond them."""
    if x <= known[0]:
        return values[0]
    for (a, b), (low, high) in zip(pairwise(known), pairwise(values), strict=True):
        if x <= b:
            return low + (high - low) * (x - a) / (b - a)
    return values[-1]


def _spelled(budgets: Sequence[int]) -> str:
    if len(budgets) <= 6:
        return ", ".join(map(str, budgets))
    return f"{budgets[0]} to {budgets[-1]} ({len(budgets)} budgets)"
