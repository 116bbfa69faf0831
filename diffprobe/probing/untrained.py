"""The same network untrained: what an architecture tells by itself.

Random features of an image can be as good as learned ones. The control is a network of the same
class and configuration, freshly initialised. Layers that start at zero (the gates of adaLN-zero
blocks, output layers) would make it a function of less than the architecture computes, such as a
block that is the identity: they are drawn as PyTorch draws any layer of their kind.
"""

import copy

import torch
from diffusers import ConfigMixin
from torch import nn

from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser


def untrained(denoiser: Denoiser, seed: int, draw: int = 0) -> NetworkDenoiser | None:
    """Return a denoiser whose network has fresh weights; None where it cannot be built anew.

    Args:
        denoiser: Its network is built again if it is one with a configuration, as diffusers' are.
        seed, draw: Of the weights.
    """
    if not isinstance(denoiser, NetworkDenoiser) or not isinstance(denoiser.network, ConfigMixin):
        return None
    # diffusers 0.42 takes arguments given by place for defaults, which it leaves out.
    config = {k: v for k, v in denoiser.network.config.items() if k != "_use_default_values"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "untrained network", draw).initial_seed())
        network = type(denoiser.network).from_config(config)
        for layer in network.modules():
            if _starts_at_zero(layer):
                layer.reset_parameters()
    like = next(denoiser.network.parameters())
    network = network.to(like.device).eval().requires_grad_(requires_grad=False)
    if like.dtype != torch.float32:
        network = network.to(like.dtype)
    # All but the network is copied: schedule, condition and whatever else its class holds.
    return copy.deepcopy(denoiser, {id(denoiser.network): network})


def _starts_at_zero(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    return (
        isinstance(weight, nn.Parameter) and not weight.any() and hasattr(layer, "reset_parameters")
    )
