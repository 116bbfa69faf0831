"""One fixed draw of (x_0, t, eps), so that differences of 1 % between steps can be seen."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import TrainingConfig
from diffprobe.datasets.condition import Conditions
from diffprobe.datasets.stream import Stream
from diffprobe.datasets.symbol_images import SymbolImages
from diffprobe.foundations.seeding import generator
from diffprobe.training.objective import Objective, telling


@dataclass(frozen=True)
class Validation:
    """The loss on the fixed draw.

    Attributes:
        loss: Mean over all of it.
        by_level: Mean within equal ranges of t, least noise first; as many as
            `training.validation_levels`, or as there are images.
    """

    loss: float
    by_level: list[float]


class ValidationBatch:
    """Valid words that are not trained on, spread evenly over the noise levels.

    Of each the condition is told, where there are `conditions`.
    """

    def __init__(
        self,
        dataset: SymbolImages,
        stream: Stream,
        settings: TrainingConfig,
        objective: Objective,
        device: torch.device,
        conditions: Conditions | None = None,
    ) -> None:
        n = settings.validation_size
        random = generator(settings.seed, "validation")
        words = stream.draw_held_out(n, random)
        self.x_0 = dataset.draw(words, random).to(device)
        # Stratified: the noise levels are spread evenly, not drawn.
        self.t = ((torch.arange(n) + 0.5) * objective.levels / n).long().to(device)
        self.eps = torch.randn(self.x_0.shape, generator=random).to(device)
        self.told = None if conditions is None else conditions.of(words, random).to(device)
        self.objective = objective
        self.batch_size = settings.batch_size
        self.parts = min(settings.validation_levels, n)

    @torch.no_grad()
    def measure(self, network: Any) -> Validation:
        """Return the loss of a network."""
        total = 0.0
        errors: list[Tensor] = []
        for rows in torch.arange(len(self.t), device=self.t.device).split(self.batch_size):
            found, wanted = self.objective.predicted(
                telling(network, None if self.told is None else self.told[rows]),
                self.x_0[rows],
                self.t[rows],
                self.eps[rows],
            )
            total += torch.nn.functional.mse_loss(found, wanted).item() * len(rows)
            errors.append((found - wanted).square().flatten(1).mean(1))
        by_level = torch.cat(errors).tensor_split(self.parts)
        return Validation(total / len(self.t), [float(part.mean()) for part in by_level])
