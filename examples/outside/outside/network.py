"""A network that is local by construction: a positive control for the probes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from diffprobe.models.networks import NetworkKind


class LocalConv(ModelMixin, ConfigMixin):
    """Convolutions that see `radius` pixels to each side; the time is one more channel."""

    @register_to_config
    def __init__(self, image_shape: tuple[int, int, int], width: int = 32, radius: int = 2) -> None:
        super().__init__()
        channels = image_shape[0]
        layers: list[nn.Module] = [nn.Conv2d(channels + 1, width, 1)]
        for _ in range(radius):
            layers += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, channels, 1))

    def forward(self, sample: Tensor, timestep: Tensor) -> Transformer2DModelOutput:
        """Map `sample (B, C, H, W)` and `timestep (B,)` to `.sample (B, C, H, W)`."""
        time = (timestep.expand(len(sample)) / 1000).to(sample)[:, None, None, None]
        seen = torch.cat([sample, time.expand(-1, 1, *sample.shape[2:])], 1)
        return Transformer2DModelOutput(sample=self.layers(seen))


@dataclass(frozen=True)
class LocalConvConfig(NetworkKind):
    """Convolutions that see `radius` pixels to each side."""

    name: ClassVar[str] = "local-conv"
    width: int = 32
    radius: int = 2

    def network(
        self, image_shape: tuple[int, int, int], grid: tuple[int, int] | None
    ) -> ModelMixin:
        """Build it for images of that shape (C, H, W)."""
        return LocalConv(image_shape, self.width, self.radius)

    @classmethod
    def models(cls) -> tuple[type[ModelMixin], ...]:
        """Name the class that checkpoints are loaded into."""
        return (LocalConv,)
