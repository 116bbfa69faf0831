"""Exact inference: how long marginals take, how that grows, in what memory, and next to a U-Net.

Prints the times, the ratios, and the peak memory. Two threads, best of several runs each.
"""

import time
from collections.abc import Callable

import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.inference.grammar import INSIDE
from diffprobe.foundations import memory
from diffprobe.foundations.memory import GIB
from diffprobe.models import BayesDenoiser, noise_scheduler, parameter_count
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.resolution import resolve


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


def many_symbols() -> None:
    """Print what 128 cells of 64 symbols take, whole and within budgets, and handwriting."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(256, 128, 64, generator=random)
    for grammar in (CopyConfig(128, 64).build(), ModularSumConfig(128, 64, 64).build()):
        print(f"posterior marginals of {grammar.title}, 128 cells, 64 symbols, batch 256")
        for size in (GIB, 2 * GIB, None):
            with memory.limited(size):
                seconds = best(lambda g=grammar: g.marginals(scores), runs=1)
                rows = min(256, memory.items(8 * grammar.elements_per_row, INSIDE))
            budget = "no budget" if size is None else f"--memory {memory.spelled(size)}"
            print(f"  {budget:18} {seconds:6.2f} s, {rows:3} rows at once", flush=True)


def handwriting() -> None:
    dataset = resolve(preset="digit-sum-unet").dataset()
    bayes = BayesDenoiser(dataset, noise_scheduler(NoiseConfig()))
    x_t = torch.randn(256, *dataset.image_shape, generator=torch.Generator().manual_seed(0))
    t = torch.full((256,), 400)
    variants = int(dataset.glyphs.counts.sum())
    print(f"Bayes denoiser of {variants:,} pictures of handwriting, 256 images")
    for size in (GIB, None):
        with memory.limited(size):
            seconds = best(lambda: bayes(x_t, t), runs=3)
        budget = "no budget" if size is None else f"--memory {memory.spelled(size)}"
        print(f"  {budget:18} {seconds:6.2f} s", flush=True)


def beside_a_unet() -> float:
    """Print the time of the Bayes denoiser beside a U-Net's; return the ratio."""
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
    return ours / theirs


if __name__ == "__main__":
    torch.set_num_threads(2)
    marginals()
    many_symbols()
    handwriting()
    beside_a_unet()
    print(f"peak memory {memory.spelled(memory.peak())}")
