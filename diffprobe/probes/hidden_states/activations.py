"""Activations of a denoiser's named layers, by forward hooks.

A layer is called as PyTorch calls the module, relative to the network: `blocks.2`, `mid_block`. Its
activation is what the module returns, or with `:in` behind the name what it is given. Of a tuple
the first tensor counts. An activation of more numbers than asked for is hashed: each number is
added, with a random sign, to one of the sums. That is a random projection which keeps inner
products in expectation, and costs no more than reading the activation; a mean over positions would
lose whatever, like a parity, is no sum over them.

Reference:
    Weinberger et al., "Feature hashing for large scale multitask learning", arXiv:0902.2206.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser


@torch.no_grad()
def activations(
    denoiser: Denoiser,
    x_t: Tensor,
    t: int | Tensor,
    layers: Sequence[str] = (),
    *,
    features: int = 1024,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return what each layer makes of noisy images, in the order in which the layers are run.

    Args:
        denoiser: With named layers.
        x_t: (N, C, H, W).
        t: Noise level, or those of each image (N,) or of each of its cells (N, cells).
        layers: Their names; `default_layers` if there are none.
        features: At most so many numbers per layer and image.
        batch_size: Images held at once.
        seed: Of the hashing.

    Returns:
        Layer -> (N, F) float32 on the CPU, F ≤ `features`; last "x0_hat", the output itself.

    Raises:
        UsageError: If there is no such layer, or it gives no finite numbers for each image.
    """
    names = tuple(layers) or default_layers(denoiser)
    found: dict[str, list[Tensor]] = {}
    levels = t if isinstance(t, Tensor) else torch.full((len(x_t),), t)
    for batch, at in zip(x_t.split(batch_size), levels.split(batch_size), strict=True):
        with _recorded(denoiser, names) as seen:
            output = denoiser(batch, at.to(batch.device))
        if missing := [name for name in names if name not in seen]:
            raise UsageError(f"the layer {missing[0]} is not used by the network")
        for name, value in {**seen, "x0_hat": output}.items():
            if not isinstance(value, Tensor) or len(value) != len(batch):
                raise UsageError(f"the layer {name} does not give numbers for each image")
            if not value.isfinite().all():
                raise UsageError(f"the layer {name} gives numbers that are not finite")
            flat = value.detach().flatten(1).float()
            found.setdefault(name, []).append(hashed(flat, features, seed).cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def default_layers(denoiser: Denoiser) -> tuple[str, ...]:
    """Return the blocks of a network; without any, what its linear and convolutional layers read.

    The blocks are the members of its outermost lists of modules, and a U-Net's `mid_block`. What
    the very first layer reads is the noisy image, and is left out.

    Raises:
        UsageError: If there is no layer.
    """
    network = _network(denoiser)
    modules = dict(network.named_modules())
    parents = [name for name, module in modules.items() if isinstance(module, nn.ModuleList)]
    members = [n for n in modules if n.rpartition(".")[0] in parents and "." in n]
    members += [name for name in modules if name.split(".")[-1] == "mid_block"]
    blocks = [a for a in members if not any(a.startswith(f"{b}.") for b in members)]
    readers = [n for n, m in modules.items() if isinstance(m, nn.Linear | nn.Conv2d)]
    chosen = blocks or [f"{name}:in" for name in readers[1:]]
    if not chosen:
        raise UsageError(f"a {type(network).__name__} has no layers to look into")
    return tuple(chosen)


def hashed(flat: Tensor, features: int, seed: int = 0) -> Tensor:
    """Return `flat (N, F)` itself, or if F is larger (N, features) sums with random signs."""
    width = flat.shape[1]
    if width <= features:
        return flat
    random = generator(seed, "hashing", width)
    target = torch.randint(features, (width,), generator=random).to(flat.device)
    sign = torch.randint(0, 2, (width,), generator=random).to(flat) * 2 - 1
    return flat.new_zeros(len(flat), features).index_add_(1, target, flat * sign)


def _network(denoiser: Denoiser) -> nn.Module:
    network: nn.Module = denoiser.network if isinstance(denoiser, NetworkDenoiser) else denoiser
    return network


@contextmanager
def _recorded(denoiser: Denoiser, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a dict that a run of the denoiser fills with the named layers' activations."""
    network = _network(denoiser)
    modules = {name: module for name, module in network.named_modules() if name}
    seen: dict[str, Any] = {}

    def record(name: str, value: Any) -> None:
        while isinstance(value, tuple | list) and value:
            value = value[0]
        seen[name] = value

    handles = []
    try:
        for name in names:
            module = modules.get(name.removesuffix(":in"))
            if module is None:
                raise unknown_name("layer", name, modules)
            if name.endswith(":in"):
                hook = module.register_forward_pre_hook(
                    lambda _, given, kwargs, name=name: record(name, (*given, *kwargs.values())),
                    with_kwargs=True,
                )
            else:
                hook = module.register_forward_hook(
                    lambda _, given, result, name=name: record(name, result)
                )
            handles.append(hook)
        yield seen
    finally:
        for hook in handles:
            hook.remove()
