"""Where the time of a U-Net's step goes in float32 and in bfloat16, and what bfloat16 costs.

    python benchmarks/precision.py

A step is forward and backward on one batch of the preset parity-unet's images, by turns in one
process; medians of the turns. "Autocast" is what
`training.mixed_precision = "bf16"` does: on a CPU it keeps to the plain attention kernel. "All in
bfloat16" casts the weights first and hands float32 gradients back to them, so that norms,
activations and additions are in bfloat16 as well. The error is that of the gradient beside
float32's, ‖g − g_32‖ / ‖g_32‖.
"""

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable

import torch
from ratios import Ratio
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from diffprobe.foundations.allocator import keep_freed_memory
from diffprobe.foundations.seeding import generator
from diffprobe.models.networks import parameter_count
from diffprobe.resolution import resolve

TURNS = 7
# What is part of what, by the names of PyTorch's operators.
KINDS = {
    "convolution": ("convolution", "thnn_conv"),
    "norm": ("group_norm",),
    "activation": ("silu",),
    "attention, linear": ("addmm", "mm", "attention", "softmax", "bmm"),
    "casts and copies": ("copy_", "_to_copy"),
    "additions": ("add", "add_", "mul", "cat", "sum", "div"),
}

Forward = Callable[[nn.Module, Tensor, Tensor], Tensor]


def plain(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    return network(x, t).sample  # type: ignore[no-any-return]


def autocast(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        return plain(network, x, t)


def autocast_flash(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return plain(network, x, t)


def all_in_bf16(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    weights = {name: w.bfloat16() for name, w in network.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):
        return functional_call(network, weights, (x.bfloat16(), t)).sample  # type: ignore[no-any-return]


CONTENDERS: dict[str, tuple[Forward, torch.memory_format]] = {
    "float32": (plain, torch.contiguous_format),
    "float32, channels last": (plain, torch.channels_last),
    "autocast, fused attention": (autocast_flash, torch.contiguous_format),
    "autocast": (autocast, torch.contiguous_format),
    "autocast, channels last": (autocast, torch.channels_last),
    "all in bfloat16": (all_in_bf16, torch.contiguous_format),
    "all in bfloat16, channels last": (all_in_bf16, torch.channels_last),
}


def gradient(network: nn.Module, forward: Forward, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One step's gradient: all of it, flat."""
    x, t, target = batch
    for w in network.parameters():
        w.grad = None
    nn.functional.mse_loss(forward(network, x, t).to(target), target).backward()
    return torch.cat([w.grad.flatten() for w in network.parameters() if w.grad is not None])


def shares(step: Callable[[], object]) -> str:
    """Where a step's time goes, by kind of operator."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        name = event.key.removeprefix("aten::")
        found = (k for k, parts in KINDS.items() if any(p in name for p in parts[:2]))
        exact = (k for k, parts in KINDS.items() if name in parts)
        spent[next(exact, next(found, "other"))] += event.self_cpu_time_total
    total = spent.total()
    return ", ".join(f"{kind} {time / total:.0%}" for kind, time in spent.most_common())


def main() -> dict[str, Ratio]:
    """Print the table; return how many times as fast as float32 each is."""
    keep_freed_memory()
    config = resolve(preset="parity-unet")
    dataset, random = config.dataset(), generator(0, "benchmark")
    x = dataset.draw_images(config.training.batch_size, random)
    batch = x, torch.randint(1000, (len(x),), generator=random), torch.randn(x.shape)
    original = config.network.build(dataset.image_shape)
    exact = gradient(original, plain, batch)
    print(f"a U-Net of {parameter_count(original):,} weights, batch {tuple(x.shape)}")
    a, b = torch.randn(2, 1024, 1024)
    for dtype in (torch.float32, torch.bfloat16):
        c, d = a.to(dtype), b.to(dtype)
        rate = 2 * 1024**3 / min(_seconds(lambda c=c, d=d: c @ d) for _ in range(5)) / 1e9
        print(f"  matrix product in {dtype}: {rate:.0f} GFLOP/s")
    steps: dict[str, Callable[[], Tensor]] = {}
    for name, (forward, layout) in CONTENDERS.items():
        network = copy.deepcopy(original).to(memory_format=layout)
        laid = x.contiguous(memory_format=layout), *batch[1:]
        steps[name] = lambda n=network, f=forward, laid=laid: gradient(n, f, laid)
    errors = {k: ((step() - exact).norm() / exact.norm()).item() for k, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, step in steps.items():
            times[name].append(_seconds(step))
    found = {name: Ratio.of(times["float32"], each) for name, each in times.items()}
    for name, step in steps.items():
        print(
            f"  {name:31} {statistics.median(times[name]) * 1e3:7.1f} ms, {found[name]} × as fast "
            f"as float32, gradient's error {errors[name]:.1e}\n    {shares(step)}",
            flush=True,
        )
    return found


def _seconds(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(f"{torch.get_num_threads()} threads, medians of {TURNS} turns")
    main()
