"""The objective of a step: which noise levels are drawn, and the loss at them."""

import functools
import hashlib
import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffprobe.datasets.cell_grid import CellGrid
from diffprobe.foundations.seeding import generator as seeded
from diffprobe.models.noise_schedule import NoiseSchedule, training_target, x0_hat
from diffprobe.training.penalties import Penalty, Prediction


class Objective:
    """Mean squared error of what the network predicts, at noise levels that are drawn.

    Args:
        scheduler: A diffusers scheduler: the noise levels, and what the network predicts.
        shares: (T,) how often each level is drawn; by default all alike.
        min_snr_gamma: Where given, an image counts by min(snr, gamma) times the squared error of
            x0_hat (Hang et al., "Efficient diffusion training via Min-SNR weighting strategy",
            arXiv:2303.09556); by default by the squared error of what is predicted.
        penalties: What is added to the loss, each with its weight.
        cells: The cells that have noise levels of their own; None where an image has one level.
    """

    def __init__(
        self,
        scheduler: Any,
        shares: Tensor | None = None,
        min_snr_gamma: float | None = None,
        penalties: Mapping[Penalty, float] | None = None,
        cells: CellGrid | None = None,
    ) -> None:
        self.prediction_type: str = scheduler.config.prediction_type
        self.schedule = NoiseSchedule(scheduler, cells)
        self.shares = shares
        self.min_snr_gamma = min_snr_gamma
        self.penalties = dict(penalties or {})

    @property
    def levels(self) -> int:
        """How many noise levels there are."""
        return self.schedule.timesteps

    def to(self, device: torch.device) -> "Objective":
        """Move the schedule to a device."""
        self.schedule.to(device)
        self.shares = None if self.shares is None else self.shares.to(device)
        for penalty in self.penalties:
            penalty.to(device)
        return self

    def draw_levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the noise levels of a step: (n,) long, or (n, cells)."""
        cells = self.schedule.cells
        shape = (n,) if cells is None else (n, cells.cells)
        if self.shares is not None:
            count = math.prod(shape)
            drawn = torch.multinomial(self.shares, count, replacement=True, generator=generator)
            return drawn.reshape(shape)
        return torch.randint(self.levels, shape, generator=generator, device=generator.device)

    def draw(self, x_0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the noise of a step.

        Args:
            x_0: (B, C, H, W) clean images.
            generator: Of the step; on their device.

        Returns:
            t (B,) or (B, cells) long, eps (B, C, H, W) standard normal.
        """
        t = self.draw_levels(len(x_0), generator)
        return t, torch.randn(x_0.shape, generator=generator, device=generator.device)

    def loss(
        self, network: Any, x_0: Tensor, t: Tensor, eps: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return what a step minimises: ().

        Args:
            network: Called as diffusers models are.
            x_0: (B, C, H, W) clean images.
            t: (B,) or (B, cells) long.
            eps: (B, C, H, W) standard normal noise.
            generator: For what a penalty draws.
        """
        alpha, sigma = self.schedule.training_alpha_sigma(t)
        x_t = alpha * x_0 + sigma * eps
        twice = any(penalty.needs_gradient for penalty in self.penalties)
        if twice:
            x_t.requires_grad_()
        # Of PyTorch's attention kernels only the plain one has a second derivative.
        with sdpa_kernel(SDPBackend.MATH) if twice else nullcontext():
            output = network(x_t, self.schedule.timestep(t)).sample.float()
        target = training_target(self.prediction_type, x_0, eps, alpha, sigma)
        if self.min_snr_gamma is None:
            loss = torch.nn.functional.mse_loss(output, target)
        else:
            loss = (self._weights(alpha, sigma) * (output - target).square()).mean()
        if self.penalties:
            found = x0_hat(self.prediction_type, x_t, output, alpha, sigma)
            prediction = Prediction(x_t, t, found, alpha, sigma)
            for penalty, weight in self.penalties.items():
                loss = loss + weight * penalty(prediction, generator)
        return loss

    def predicted(self, network: Any, x_0: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network predicts and what it should, (B, C, H, W) float32 each."""
        alpha, sigma = self.schedule.training_alpha_sigma(t)
        output = network(alpha * x_0 + sigma * eps, self.schedule.timestep(t)).sample
        return output.float(), training_target(self.prediction_type, x_0, eps, alpha, sigma)

    def _weights(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        # x0_hat is linear in the prediction; this is by how much it changes with it.
        one, none = (
            x0_hat(self.prediction_type, 0 * alpha, v + 0 * alpha, alpha, sigma) for v in (1, 0)
        )
        snr = (alpha / sigma).square()
        return snr.clamp(max=self.min_snr_gamma) * (one - none).square()


class FrozenObjective(Objective):
    """The same with one noise level and noise for each image, however often it is seen.

    Args:
        scheduler: As an `Objective` takes it.
        seed: Level and noise are a function of it and of the image.
    """

    def __init__(self, scheduler: Any, seed: int) -> None:
        super().__init__(scheduler)
        self.seed = seed

    def draw(self, x_0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return each image's own level and noise; see `Objective.draw`."""
        randoms = [seeded(self.seed, f"frozen {_digest(image)}") for image in x_0.cpu()]
        levels = [self.draw_levels(1, random) for random in randoms]
        eps = [torch.randn(x_0.shape[1:], generator=random) for random in randoms]
        return torch.cat(levels).to(x_0.device), torch.stack(eps).to(x_0.device)


class GivenObjective(Objective):
    """The same where the first cells of some images are given, and the others share a level.

    Args:
        scheduler: As an `Objective` takes it.
        cells: The grid of cells.
        given: How many cells.
        share: Of the images, how often.
    """

    def __init__(self, scheduler: Any, cells: CellGrid, given: int, share: float) -> None:
        super().__init__(scheduler, cells=cells)
        self.grid, self.given, self.share = cells, given, share

    def draw_levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw levels: (n, cells) long, one of each image but for what is given."""
        device = generator.device
        t = torch.randint(self.levels, (n, 1), generator=generator, device=device)
        t = t.repeat(1, self.grid.cells)
        is_given = torch.rand(n, generator=generator, device=device) < self.share
        t[is_given, : self.given] = 0
        return t


def telling(network: Any, told: Tensor | None) -> Any:
    """Return the network as an objective calls it, with a condition told, (B, M) long."""
    return network if told is None else functools.partial(network, encoder_hidden_states=told)


def _digest(image: Tensor) -> str:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
