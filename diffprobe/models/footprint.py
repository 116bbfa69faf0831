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

    leaf = x_t.detach().requires_grad_()
    level = torch.full((1,), denoiser.timesteps // 2, device=x_t.device)
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        output = denoiser(leaf, level)  # held, so that no storage is used again
    beside: int = 2 * output.untyped_storage().nbytes()
    return sum(kept.values()) + beside
