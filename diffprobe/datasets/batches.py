"""Pictures as people hold them: tensors and arrays, with or without a channel."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError


def as_batch(images: Any, name: str = "images") -> Tensor:
    """Return pictures as a batch of floats, values as they are.

    Args:
        images: A tensor or a numpy array of floats, (B, C, H, W), or (B, H, W) of one channel.
        name: What messages call them.

    Returns:
        (B, C, H, W); an array as float32, a tensor in its own precision and where it is.

    Raises:
        UsageError: If they are nothing of that kind.

    >>> as_batch(np.zeros((2, 8, 48))).shape
    torch.Size([2, 1, 8, 48])
    """
    if isinstance(images, np.ndarray) and np.issubdtype(images.dtype, np.floating):
        images = torch.from_numpy(images.astype(np.float32))
    if not isinstance(images, Tensor | np.ndarray):
        raise UsageError(
            f"{name} must be a tensor or a numpy array, not of type {type(images).__name__}"
        )
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise UsageError(
            f"{name} are {images.dtype}; they must be floats in [-1, 1] (of bytes, x / 127.5 - 1)"
        )
    found: Tensor = images[:, None] if images.ndim == 3 else images
    if found.ndim != 4:
        raise UsageError(
            f"{name} have shape {tuple(images.shape)}; a batch is (B, C, H, W), or (B, H, W) of "
            "one channel, and B is 1 for a single picture"
        )
    return found
