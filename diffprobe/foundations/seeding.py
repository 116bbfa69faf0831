"""Randomness as a function of (seed, purpose, step), so that resuming needs no generator state."""

import hashlib

import torch


def generator(
    seed: int, purpose: str, step: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a fresh generator on `device` whose stream depends on the three keys alone.

    >>> a = torch.rand(2, generator=generator(0, "noise", 7))
    >>> b = torch.rand(2, generator=generator(0, "noise", 7))
    >>> bool((a == b).all()), bool((a == torch.rand(2, generator=generator(0, "noise", 8))).any())
    (True, False)
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    # 63 bits: manual_seed reads a signed 64-bit integer.
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
