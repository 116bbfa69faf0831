"""DDIM along noise levels that are bent towards where they are needed, with noise as it is needed.

Of S steps the evenly spaced levels u = 1, (S - 1)/S, … 1/S of a schedule of T lie at

    t / T = 1 - (1 - u^clean)^noisy,

which is increasing, 0 at 0 and 1 at 1, and u itself where both exponents are 1. Near the clean end
it goes as u^clean, near the noisy end as one less (1 - u)^noisy: each exponent above 1 crowds steps
at its end.

The step is DDIM's with an eta of its own, on a line from the first step's to the last's.

Reference:
    Kumaraswamy, "A generalized probability density function for double-bounded random processes",
    1980 (the curve); Song et al., "Denoising diffusion implicit models", arXiv:2010.02502 (eq. 12).
"""

from typing import Any

import torch
from torch import Tensor

from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.sampling.paths import NoisePath, ddim_step


class BentPath(NoisePath):
    """The path of the tuned sampler, for diffusions and flows.

    Args:
        schedule: The denoiser's.
        steps: From noise to image.
        clean, noisy: Exponents at the two ends, positive.
        first_eta, last_eta: Of the first and the last step, in [0, 1]; the step to the image has
            no noise, whatever its eta.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        steps: int,
        clean: float,
        noisy: float,
        first_eta: float,
        last_eta: float,
    ) -> None:
        self.schedule = schedule
        self.levels = bent_levels(schedule.timesteps, steps, clean, noisy).to(schedule.device)
        self.etas = torch.linspace(first_eta, last_eta, steps).tolist()
        self._after = torch.cat([self.levels[1:], self.levels.new_tensor([GIVEN])])

    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Take DDIM's step with the eta of this one; see `NoisePath.advance`."""
        here = slice(step, step + 1)
        before, after, eta = self.levels[here], self._after[here], self.etas[step]
        return ddim_step(self.schedule, x_t, x0_hat, before, after, eta, generator)

    def description(self) -> dict[str, Any]:
        """Return the levels and the etas; see `NoisePath.description`."""
        config = {"etas": self.etas}
        return {"class": "tuned", "timesteps": self.levels.tolist(), "config": config}


def bent_levels(timesteps: int, steps: int, clean: float, noisy: float) -> Tensor:
    """Return noise levels (steps,) long along the curve, each below the one before it.

    Args:
        timesteps: How many there are.
        steps: How many are wanted, at most as many.
        clean, noisy: The exponents.

    >>> bent_levels(1000, 4, 1.0, 1.0)
    tensor([999, 749, 499, 249])
    >>> bent_levels(1024, 4, 2.0, 1.0)
    tensor([1023,  575,  255,   63])
    """
    u = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
    levels = (timesteps * (1 - (1 - u**clean) ** noisy)).round().long() - 1
    # Where the curve is so flat that levels coincide, the next ones there are; then none is below
    # the cleanest, with as many of them left as there are steps to go.
    places = torch.arange(steps)
    falling = (levels + places).cummin(0).values - places
    return falling.maximum(steps - 1 - places)
