"""The space of a latent diffusion model: z = (E[encoder(image)] - shift) scale."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.models.checkpoint_folder import read_config
from diffprobe.models.components import load_model

# Images that the autoencoder sees at once.
BATCH = 8
MOST_BLOCKS = 16  # of which each but the last halves the image


class LatentSpace:
    """A pipeline's autoencoder; its weights are loaded when the first image is encoded.

    Args:
        folder: Holds an `AutoencoderKL`.

    Attributes:
        pixel_scale: Pixels to a latent cell, in each direction.

    Raises:
        CheckpointError: If the folder holds another kind of autoencoder.
    """

    def __init__(self, folder: Path) -> None:
        config = read_config(folder, "config.json")
        if (name := config.get("_class_name")) != "AutoencoderKL":
            raise CheckpointError(f"{folder} holds a {name}; diffprobe encodes by AutoencoderKL")
        blocks = config.get("block_out_channels", [0])
        if not isinstance(blocks, list) or not 1 <= len(blocks) <= MOST_BLOCKS:
            raise CheckpointError(
                f"{folder} names no block_out_channels of an autoencoder: {blocks}"
            )
        self.folder = folder
        self.pixel_scale = 2 ** (len(blocks) - 1)

    @torch.no_grad()
    def encode(self, images: Tensor, device: torch.device) -> Tensor:
        """Return the mean latents of images.

        Args:
            images: (B, C, H, W) in [-1, 1]; H and W divisible by `pixel_scale`.
            device: Where to compute them.

        Returns:
            (B, c, H / pixel_scale, W / pixel_scale), where the images are.

        Raises:
            UsageError: If the images have another shape.
        """
        config = self._autoencoder.config
        scale = self.pixel_scale
        if images.ndim != 4 or images.shape[1] != config.in_channels:
            raise UsageError(
                f"the autoencoder takes images (B, {config.in_channels}, H, W); "
                f"these are {tuple(images.shape)}"
            )
        if images.shape[2] % scale or images.shape[3] % scale:
            raise UsageError(
                f"a latent cell is {scale}×{scale} pixels, which does not divide images of "
                f"{images.shape[2]}×{images.shape[3]}"
            )
        autoencoder = self._autoencoder.to(device)
        means = [
            autoencoder.encode(batch.to(device)).latent_dist.mode().to(images.device)
            for batch in images.float().split(BATCH)
        ]
        latents: Tensor = (torch.cat(means) - (config.shift_factor or 0)) * config.scaling_factor
        return latents

    @cached_property
    def _autoencoder(self) -> Any:
        from diffusers import AutoencoderKL

        model = load_model(self.folder, AutoencoderKL)
        return model.requires_grad_(False).eval()
