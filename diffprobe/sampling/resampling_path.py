"""Down in noise, up again with fresh noise, and down: stretches of the path walked several times.

The levels of the "trailing" spacing are cut into stretches of `jump` steps. Down goes DDIM's step
(`paths.ddim_step`); up from level s to a noisier level t goes the forward process,

    x_t = alpha_t / alpha_s x_s + sqrt(sigma_t² - (alpha_t / alpha_s)² sigma_s²) eps.

Both ways keep the marginals of x_t, the way down as exactly as its steps are fine, so that with an
exact denoiser the samples stay those of the data, however often a stretch is walked; and what an
early step decided wrongly can be decided anew.

Reference:
    Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic models",
    arXiv:2201.09865 (resampling). After the idea of Ashiq et al., "Why DDIM hallucinates more than
    DDPM", arXiv:2605.06831: extra stochastic steps let a path that is stuck between modes go on.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.sampling.paths import NoisePath, ddim_step, trailing_levels


class ResamplingPath(NoisePath):
    """The path of the resampling sampler, for diffusions and flows.

    Args:
        schedule: The denoiser's.
        steps: From noise to image, without what is walked again.
        repeats: How often each stretch is walked again.
        jump: Steps of a stretch.
        window: Lowest and highest log-SNR; stretches that begin or end outside are walked once.

    Raises:
        UsageError: If no stretch lies in the window.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        steps: int,
        *,
        repeats: int,
        jump: int,
        window: tuple[float, float],
    ) -> None:
        self.schedule = schedule
        once = trailing_levels(schedule.timesteps, steps)
        log_snr = schedule.log_snr(once).tolist()
        ends = [*once.tolist(), GIVEN]
        low, high = window
        walked: list[int] = []
        again = 0
        for first in range(0, steps, jump):
            last = min(first + jump, steps)
            inside = low <= log_snr[first] and log_snr[last - 1] <= high
            again += inside
            walked += [*range(first, last)] * (1 + repeats * inside)
        if not again and repeats:
            raise UsageError(
                f"sampler.window = [{low:g}, {high:g}] holds no {jump} steps in a row of the "
                f"{steps} from log-SNR {log_snr[0]:z.1f} to {log_snr[-1]:z.1f}: widen it, or take "
                "more steps or a smaller sampler.jump"
            )
        self.levels = once[walked].to(schedule.device)
        self._goes_up = [b <= a for a, b in pairwise(walked)] + [False]
        self._after = torch.tensor([ends[step + 1] for step in walked], device=schedule.device)

    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Take DDIM's step, and go up where a stretch begins anew; see `NoisePath.advance`."""
        after = self._after[step : step + 1]
        x = ddim_step(self.schedule, x_t, x0_hat, self.levels[step : step + 1], after)
        if not self._goes_up[step]:
            return x
        following = self.levels[step + 1 : step + 2]
        alpha, sigma = self.schedule.alpha_sigma(after, x.dtype)
        noisier_alpha, noisier_sigma = self.schedule.alpha_sigma(following, x.dtype)
        share = noisier_alpha / alpha
        spread = (noisier_sigma.square() - (share * sigma).square()).sqrt()
        eps = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return share * x + spread * eps

    def description(self) -> dict[str, Any]:
        """Return the levels of all evaluations; see `NoisePath.description`."""
        return {"class": "resampling", "timesteps": self.levels.tolist(), "config": {}}
