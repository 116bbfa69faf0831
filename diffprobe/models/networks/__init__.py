"""The networks that a configuration can name, one a file: settings, and what they build."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffusers import ModelMixin


class NetworkKind(Kind, ABC):
    """Settings of a network."""

    role: ClassVar[str] = "network"

    def build(self, image_shape: tuple[int, int, int], seed: int = 0) -> "ModelMixin":
        """Return a freshly initialised network for images of `image_shape` (C, H, W).

        Raises:
            UsageError: If the architecture does not fit the images.
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network(image_shape)

    @abstractmethod
    def network(self, image_shape: tuple[int, int, int]) -> "ModelMixin":
        """Return a network for images of `image_shape` (C, H, W)."""

    @classmethod
    @abstractmethod
    def model(cls) -> "type[ModelMixin]":
        """Return the class of the networks, by whose name a checkpoint is loaded again."""


def parameter_count(network: "ModelMixin") -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
