"""What a denoiser needs in memory: measured on one input, whatever network it is."""

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from diffprobe.foundations import memory
from diffprobe.models.denoiser import Denoiser

# Of what may be worked with, what the activations of inputs at once may take.
ACTIVATIONS = 1 / 2


def inputs_at_once(
    denoiser: Denoiser, image_shape: tuple[int, int, int], most: int, graphs: float = 1.0
) -> int:
    """Return how many inputs a budget holds at once; `most` without one.

    Args:
        denoiser: Whose inputs.
        image_shape: C, H, W.
        most: Of them.
        graphs: How often the activations are held.

    Raises:
        MemoryLimitError: If a budget does not hold a single one.
    """
    if memory.budget() is None:
        return most
    x_t = torch.zeros(1, *image_shape, device=denoiser.device)
    each = graphs * activation_bytes(denoiser, x_t)
    size = " × ".join(map(str, image_shape))
    return min(most, memory.room_for(each, ACTIVATIONS, f"one input of {size} in the network"))


def check_inputs(denoiser: Denoiser, x_t: Tensor, graphs: float) -> None:
    """Raise MemoryLimitError where a budget does not hold all of `x_t (N, C, H, W)` at once."""
    if memory.budget() is not None:
        each = graphs * activation_bytes(denoiser, x_t[:1])
        memory.room_for(len(x_t) * each, ACTIVATIONS, f"the network on {len(x_t)} inputs at once")


def training_bytes(
    denoiser: Denoiser, image_shape: tuple[int, int, int], batch_size: int, copies: int
) -> int:
    """Return about how much training needs.

    Args:
        denoiser: Whose network is trained.
        image_shape: C, H, W.
        batch_size: Images at once.
        copies: How often the weights are held: with gradients, moments and averages.
    """
    weights = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    each = activation_bytes(denoiser, torch.zeros(1, *image_shape, device=denoiser.device))
    return copies * weights + batch_size * each


def activation_bytes(denoiser: Denoiser, x_t: Tensor) -> int:
    """Return the bytes that autograd keeps of `x_t (1, C, H, W)` on its way through a denoiser.

    Without gradients less is held at any time.
    """
    own = {w.untyped_storage().data_ptr() for w in (*denoiser.parameters(), *denoiser.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = x_t.detach().clone().requires_grad_()
    level = torch.full((1,), denoiser.timesteps // 2, device=x_t.device)
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        output = denoiser(leaf, level)  # held, so that no storage is used again
    beside: int = 2 * output.untyped_storage().nbytes()
    return sum(kept.values()) + beside
