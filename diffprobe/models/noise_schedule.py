"""The noise schedule: alpha and sigma of every noise level, for diffusion and for flow matching.

x_t = alpha_t x_0 + sigma_t eps,   t an index of noise levels, in order of increasing noise

diffusion:       alpha_t = sqrt(alphas_cumprod[t]),   alpha² + sigma² = 1
flow matching:   alpha_t = 1 - sigma_t,   sigma_t from 1/T to 1, moved towards 1 by a shift

epsilon:       x0_hat = (x_t - sigma eps_hat) / alpha
sample:        x0_hat = the output
v_prediction:  x0_hat = alpha x_t - sigma v_hat       (Salimans & Ho, arXiv:2202.00512, app. D)
flow:          x0_hat = x_t - sigma v_hat,  v = eps - x_0     (Lipman et al., arXiv:2210.02747)

`t` is (B,), or (B, cells) where each cell has a noise level of its own. The level `GIVEN`, below
all others, is that of a cell without noise: alpha = 1, sigma = 0.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.errors import UsageError, unknown_name

# The noise level of a cell that is known.
GIVEN = -1

# Where a schedule ends in pure noise a trace of the image is left, so that log-SNR stays finite
# (-16.6): diffusers does the same in its schedules of zero terminal signal.
SMALLEST_ALPHA = 2.0**-12


class NoiseSchedule(nn.Module):
    """What a noise level is; the only place that knows diffusion from flow matching.

    A module, so that it is where the denoiser is whose schedule it is.

    Args:
        scheduler: A diffusers scheduler of a diffusion (with `alphas_cumprod`) or of flow
            matching.
        cells: The cells whose levels may differ; None where an image has one level.

    Attributes:
        scheduler, cells: As given.
        is_flow: Whether it is flow matching.

    Raises:
        UsageError: If the scheduler is of another kind.
    """

    def __init__(self, scheduler: Any, cells: CellGrid | None = None) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.cells = cells
        self.is_flow = not hasattr(scheduler, "alphas_cumprod")
        exact = _flow(scheduler) if self.is_flow else _diffusion(scheduler.alphas_cumprod.double())
        rounded = (
            (exact[0].float(), exact[1].float())
            if self.is_flow
            else _diffusion(scheduler.alphas_cumprod)
        )
        # Level t is at index t + 1, and `GIVEN` at index 0. They stay on the CPU, and others get
        # them in the precision that is asked for: not every device has float64.
        self._exact = torch.stack(
            [
                torch.cat([values.new_tensor([given]), values])
                for values, given in ((exact[0].clamp(min=SMALLEST_ALPHA), 1), (exact[1], 0))
            ]
        )
        self._tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        self.register_buffer("_training_alphas", rounded[0], persistent=False)
        self.register_buffer("_training_sigmas", rounded[1], persistent=False)
        self._training_alphas: Tensor
        self._training_sigmas: Tensor

    @property
    def alphas(self) -> Tensor:
        """(T,) float64 on the CPU, the share of the clean image at each noise level."""
        return self._exact[0, 1:]

    @property
    def sigmas(self) -> Tensor:
        """(T,) float64 on the CPU, the standard deviation of the noise at each noise level."""
        return self._exact[1, 1:]

    @property
    def timesteps(self) -> int:
        """T, the number of noise levels."""
        return self._exact.shape[1] - 1

    @property
    def device(self) -> torch.device:
        """Where the denoiser is whose schedule it is."""
        return self._training_alphas.device

    @property
    def prediction_types(self) -> list[str]:
        """What a network can predict."""
        return [name for name in _X0_HAT if name != ("v_prediction" if self.is_flow else "flow")]

    def check_prediction_type(self, name: str) -> None:
        """Raise UsageError, with the nearest name, unless a network can predict that."""
        if name not in self.prediction_types:
            raise unknown_name("prediction type", name, self.prediction_types)

    def values(self, t: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each of the shape of `t`, (B,) or (B, cells) long.

        Raises:
            UsageError: If levels are given by cell and are not (B, cells) of this schedule.
        """
        self._check(t)
        key = t.device, dtype
        if key not in self._tables:
            self._tables[key] = self._exact.to(dtype).to(t.device)
        alphas, sigmas = self._tables[key]
        return alphas[t + 1], sigmas[t + 1]

    def alpha_sigma(self, t: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t of images: (B, 1, 1, 1), or (B, 1, H, W) of levels by cell.

        Args:
            t: (B,) or (B, cells) long.
            dtype: Of the result.

        Raises:
            UsageError: As `values`.
        """
        alpha, sigma = self.values(t, dtype)
        return self._spread(alpha), self._spread(sigma)

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha² / sigma²) at `t`: float64 on the CPU, in nats; inf where given."""
        alphas, sigmas = self._exact.log()
        t = t.cpu()
        found: Tensor = 2 * (alphas[t + 1] - sigmas[t + 1])
        return found

    def noise(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return `x_t` of clean images `x_0` and noise `eps`, (B, C, H, W) both, at `t`."""
        alpha, sigma = self.alpha_sigma(t, x_0.dtype)
        return alpha * x_0 + sigma * eps

    def timestep(self, t: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what a network is told of the levels `t`, in their shape.

        That is t of a diffusion and T sigma of a flow. Of a given cell it is the cleanest level, at
        which networks are trained.
        """
        self._check(t)
        t = t.clamp(min=0)
        return self.values(t, dtype)[1] * self.timesteps if self.is_flow else t

    def x0_hat(self, prediction_type: str, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the clean image that a prediction means: (B, C, H, W).

        Args:
            prediction_type: One of `prediction_types`.
            x_t, prediction: (B, C, H, W).
            t: (B,) or (B, cells) long. A given cell is its own clean image.
        """
        # Of one level, expanded to all images, the tables are asked once.
        one = t.ndim == 1 and len(t) > 0 and t.stride(0) == 0
        alpha, sigma = self.alpha_sigma(t[:1] if one else t, x_t.dtype)
        found = x0_hat(prediction_type, x_t, prediction, alpha, sigma)
        return torch.where(sigma > 0, found, x_t) if t.ndim == 2 else found

    def training_alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `alpha_sigma` does in the precision of the scheduler's table.

        Training noises with these, as diffusers' `add_noise` does. It gives no cell away: t is
        in range(timesteps).
        """
        self._check(t)
        return self._spread(self._training_alphas[t]), self._spread(self._training_sigmas[t])

    def _check(self, t: Tensor) -> None:
        if t.ndim == 1:
            return
        if self.cells is None:
            raise UsageError(
                f"this denoiser takes one noise level an image, t (B,), and t is "
                f"{tuple(t.shape)}; a network takes one for each cell when it is made with "
                "network.levels_by_cell = true"
            )
        if t.ndim != 2 or t.shape[1] != self.cells.cells:
            raise UsageError(
                f"t is {tuple(t.shape)}; noise levels are (B,), or (B, {self.cells.cells}) for the "
                f"{self.cells.rows}×{self.cells.columns} cells of an image"
            )

    def _spread(self, values: Tensor) -> Tensor:
        if values.ndim == 2 and self.cells is not None:
            return self.cells.spread(values)
        return values.reshape(-1, 1, 1, 1)


def x0_hat(
    prediction_type: str, x_t: Tensor, prediction: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return the clean image that a prediction means: (B, C, H, W)."""
    return _X0_HAT[prediction_type](x_t, prediction, alpha, sigma)


def training_target(
    prediction_type: str, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return what a network of this prediction type should output: (B, C, H, W)."""
    return _TARGET[prediction_type](x_0, eps, alpha, sigma)


def _diffusion(alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    return alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()


def _flow(scheduler: Any) -> tuple[Tensor, Tensor]:
    # By name: importing the class brings scipy.stats with it.
    if type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        raise UsageError(
            f"{type(scheduler).__name__} has no alphas_cumprod and is not for flow matching; "
            "a denoiser needs x_t = alpha x_0 + sigma eps"
        )
    levels, shift = scheduler.config.num_train_timesteps, scheduler.config.shift
    noise = torch.arange(1, levels + 1, dtype=torch.float64) / levels
    sigma = shift * noise / (1 + (shift - 1) * noise)
    return 1 - sigma, sigma


_X0_HAT: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_t, eps, alpha, sigma: (x_t - sigma * eps) / alpha,
    "sample": lambda x_t, x_0, alpha, sigma: x_0,
    "v_prediction": lambda x_t, v, alpha, sigma: alpha * x_t - sigma * v,
    "flow": lambda x_t, v, alpha, sigma: x_t - sigma * v,
}
_TARGET: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x_0, eps, alpha, sigma: eps,
    "sample": lambda x_0, eps, alpha, sigma: x_0,
    "v_prediction": lambda x_0, eps, alpha, sigma: alpha * eps - sigma * x_0,
    "flow": lambda x_0, eps, alpha, sigma: eps - x_0,
}
