"""Exact inference: how long marginals of brackets take, how that grows, and next to a U-Net.

Prints the times, the ratios, and the peak memory. Two threads, best of several runs each.
"""

import resource
import time
from collections.abc import Callable

import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.models import BayesDenoiser, noise_scheduler, parameter_count
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig


def best(call: Callable[[], object], runs: int = 5) -> float:
    call()
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def marginals() -> None:
    print("posterior marginals of Dyck-2, batch 256, float32")
    random = torch.Generator().manual_seed(0)
    before = None
    for length in (16, 32, 64, 128):
        grammar = DyckConfig(length, 2).build()
        scores = torch.randn(256, length, 4, generator=random)
        seconds = best(lambda g=grammar, s=scores: g.marginals(s))
        growth = "" if before is None else f", {seconds / before:.1f} times the last (L³: 8)"
        print(f"  L = {length:3}: {seconds:.3f} s, {grammar.count():.2e} words{growth}")
        before = seconds


def beside_a_unet() -> None:
    dataset = SymbolImages(DyckConfig(64, 2).build(), Glyphs.font("()[]"), (8, 8))
    scheduler = noise_scheduler(NoiseConfig())
    bayes = BayesDenoiser(dataset, scheduler)
    settings = UNetConfig(channels=(32, 48, 64), layers_per_block=1)
    network = settings.build(dataset.image_shape).eval()
    random = torch.Generator().manual_seed(0)
    x_t = torch.randn(64, *dataset.image_shape, generator=random)
    t = torch.full((64,), 400)

    @torch.no_grad()
    def forward() -> None:
        network(x_t, t)

    ours, theirs = best(lambda: bayes(x_t, t)), best(forward)
    print(f"64 images of 8×8 cells, {x_t.shape[2]}×{x_t.shape[3]} pixels")
    print(f"  Bayes denoiser              {ours:.3f} s")
    print(f"  U-Net of {parameter_count(network):,} parameters {theirs:.3f} s")
    print(f"  ratio                       {ours / theirs:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    marginals()
    beside_a_unet()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
