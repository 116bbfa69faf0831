"""Networks from their configuration."""

import torch
from diffusers import ModelMixin

from diffprobe.config import MLPConfig, ModelConfig, ResidualMLPConfig, TransformerConfig
from diffprobe.models.mlp import MLP, ResidualMLP
from diffprobe.models.transformer import StripTransformer
from diffprobe.models.unet import build_unet


def build_network(
    config: ModelConfig, image_shape: tuple[int, int, int], seed: int = 0
) -> ModelMixin:
    """Return a freshly initialised network for images of `image_shape` (C, H, W).

    Raises:
        UsageError: If the architecture does not fit the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(config, MLPConfig):
            return MLP(image_shape, config.width, config.time_width)
        if isinstance(config, ResidualMLPConfig):
            return ResidualMLP(image_shape, config.width, config.depth)
        if isinstance(config, TransformerConfig):
            return StripTransformer(
                image_shape, config.patch, config.width, config.depth, config.heads
            )
        return build_unet(config, image_shape)


def parameter_count(network: ModelMixin) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
