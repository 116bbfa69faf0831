"""Cells cleaned one after another, each along a schedule of noise levels of its own.

With G groups of cells and overlap o, group g is cleaned from time g (1 - o) d to g (1 - o) d + d,
where d = 1 / (1 + (G - 1) (1 - o)) makes the last one end at 1. Before, its cells are pure noise;
behind, they are given. Within its time a cell takes the levels of the "trailing" spacing and
DDIM's step (`paths.ddim_step`).

Reference:
    Wewer et al., "Spatial reasoning with denoising models", arXiv:2502.21075 (a noise level for
    each variable, and sampling them in sequence with an overlap).
"""

import math
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.models.noise_schedule import GIVEN, NoiseSchedule
from diffprobe.sampling.paths import NoisePath, ddim_step


class SequentialPath(NoisePath):
    """The path of the sequential sampler, for diffusions and flows.

    Args:
        schedule: With levels by cell.
        steps: How many evaluations in all.
        by_rows: Whether a row of cells is one group, or each cell is.
        overlap: From 0, one group after another, to 1, all at once.

    Raises:
        UsageError: If the denoiser takes one level an image, or a group would get no step.
    """

    def __init__(
        self, schedule: NoiseSchedule, steps: int, *, by_rows: bool, overlap: float
    ) -> None:
        if schedule.cells is None:
            raise UsageError(
                "the sampler sequential gives each cell a noise level of its own, and this "
                "denoiser takes one an image: train a network with network.levels_by_cell = true "
                "and objective.by_cell = true"
            )
        self.schedule = schedule
        cells = torch.arange(schedule.cells.cells)
        self._all = _levels(
            cells // schedule.cells.columns if by_rows else cells,
            steps,
            schedule.timesteps,
            overlap,
        ).to(schedule.device)
        self.levels = self._all[:-1]

    def advance(
        self, x: Tensor, x_t: Tensor, x0_hat: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """Take DDIM's step in the cells whose turn it is; see `NoisePath.advance`."""
        before, after = self._all[step][None], self._all[step + 1][None]
        moves = self.schedule.alpha_sigma(before)[1] != self.schedule.alpha_sigma(after)[1]
        return torch.where(moves, ddim_step(self.schedule, x_t, x0_hat, before, after), x)

    def description(self) -> dict[str, Any]:
        """Return the levels of every cell as the timesteps; see `NoisePath.description`."""
        return {"class": "sequential", "timesteps": self.levels.tolist(), "config": {}}


def _levels(groups: Tensor, steps: int, timesteps: int, overlap: float) -> Tensor:
    """The level of each cell before each step and after the last: (steps + 1, cells) long."""
    last = int(groups.max())
    duration = 1 / (1 + last * (1 - overlap))
    if steps * duration < 1 - 1e-9:
        raise UsageError(
            f"sampling.steps={steps} are too few to clean {last + 1} groups of cells one after "
            f"another with sampler.overlap={overlap:g}: take at least {math.ceil(1 / duration)}"
        )
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:, None]
    begins = groups.double() * (1 - overlap) * duration
    progress = ((time - begins) / duration).clamp(0, 1)
    levels = ((1 - progress) * timesteps).round().long() - 1
    levels[-1] = GIVEN  # whatever rounding says
    return levels
