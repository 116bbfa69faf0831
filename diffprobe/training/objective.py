"""The objective of a step: which noise levels are drawn, and the loss at them."""

from typing import Any

import torch
from torch import Tensor

from diffprobe.models.denoiser import training_target


class Objective:
    """Mean squared error of what the network predicts, at noise levels drawn evenly over t.

    Args:
        scheduler: A diffusers scheduler: the noise levels, and what the network predicts.
    """

    def __init__(self, scheduler: Any) -> None:
        self.prediction_type: str = scheduler.config.prediction_type
        self.alphas_cumprod: Tensor = scheduler.alphas_cumprod

    @property
    def levels(self) -> int:
        """How many noise levels there are."""
        return len(self.alphas_cumprod)

    def to(self, device: torch.device) -> "Objective":
        """Move the schedule to a device."""
        self.alphas_cumprod = self.alphas_cumprod.to(device)
        return self

    def draw_levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the noise levels of a step: (n,) long."""
        return torch.randint(self.levels, (n,), generator=generator, device=generator.device)

    def loss(self, network: Any, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return what a step minimises: ().

        Args:
            network: Called as diffusers models are.
            x_0: (B, C, H, W) clean images.
            t: (B,) long.
            eps: (B, C, H, W) standard normal noise.
        """
        return torch.nn.functional.mse_loss(*self.predicted(network, x_0, t, eps))

    def predicted(self, network: Any, x_0: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network predicts and what it should, (B, C, H, W) float32 each."""
        product = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        alpha, sigma = product.sqrt(), (1 - product).sqrt()
        output = network(alpha * x_0 + sigma * eps, t).sample
        return output.float(), training_target(self.prediction_type, x_0, eps, alpha, sigma)
