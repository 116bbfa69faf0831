"""The learning-rate schedules that a configuration can name: an array of numbers by step."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

LARGEST = 1e6  # a learning rate beyond this is a slip of the pen


class LearningRateKind(Kind, ABC):
    """Settings of a learning-rate schedule."""

    role: ClassVar[str] = "learning_rate"

    @abstractmethod
    def array(self, steps: int) -> "NDArray[float64]":
        """Return the learning rate of each step of a training of `steps`: (steps,).

        Raises:
            UsageError: If the schedule does not reach that far.
        """


@dataclass(frozen=True)
class Warmed(LearningRateKind):
    """A schedule that rises over `warmup_steps` to `peak`."""

    peak: float = 1e-3
    warmup_steps: int = 50

    def __post_init__(self) -> None:
        check_rate(peak=self.peak)
        if self.warmup_steps < 0:
            raise UsageError(f"warmup_steps must not be negative, but {self.warmup_steps}")


class OfDiffusers(Warmed):
    """A schedule that diffusers has under the same name."""

    def array(self, steps: int) -> "NDArray[float64]":
        """Return the rates; see `LearningRateKind.array`."""
        return of_diffusers(self.name, self.peak, self.warmup_steps, steps, **self.options())

    def options(self) -> dict[str, Any]:
        """Return what diffusers' schedule takes beside the warm-up."""
        return {}


def check_rate(**rates: float) -> None:
    """Raise UsageError unless each is a positive number of a sane size."""
    for name, rate in rates.items():
        if not 0 < rate <= LARGEST:
            raise UsageError(f"{name} must be positive and at most {LARGEST:g}, not {rate}")


def of_diffusers(
    name: str, peak: float, warmup_steps: int, steps: int, **options: Any
) -> "NDArray[float64]":
    """Return the schedule that diffusers calls `name`, with its highest rate `peak`: (steps,)."""
    import numpy as np
    import torch
    from diffusers.optimization import get_scheduler

    factor = get_scheduler(
        name,
        # A throw-away optimizer: only the schedule's formula is wanted.
        torch.optim.SGD([torch.zeros(1)], lr=1.0),
        num_warmup_steps=warmup_steps,
        num_training_steps=steps,
        **options,
    ).lr_lambdas[0]
    return np.array([peak * factor(step) for step in range(steps)])


def warm_up(peak: float, warmup_steps: int, steps: int) -> "NDArray[float64]":
    """Return a rise to `peak` over `warmup_steps`, as diffusers', and `peak` from then on."""
    import numpy as np

    if warmup_steps == 0:
        return np.full(steps, peak)
    return peak * np.minimum(1.0, np.arange(steps) / warmup_steps)


def check_reaches(length: int, steps: int) -> None:
    """Raise UsageError if a schedule of `length` steps ends before a training does."""
    if length < steps:
        raise UsageError(
            f"the schedule of learning rates has {length:,} steps, and training.steps is {steps:,}"
        )


def share_of(steps: int, share: float) -> int:
    """Return a share of the steps as a whole number, at least 1."""
    return max(1, math.ceil(steps * share))
