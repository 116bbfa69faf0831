"""The report's speed: 100,000 samples of 8 cells, read and judged, and everything a report tells.

Prints seconds and peak memory beside that of the images. Two threads, one run each.
"""

import resource
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from diffprobe.datasets import Glyphs, Grammar, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.evaluation import assess
from diffprobe.evaluation.verdicts import judge

SAMPLES = 100_000
Result = TypeVar("Result")


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def memory() -> float:
    """The most memory ever held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(grammar: Grammar, symbols: str) -> None:
    world = SymbolImages(grammar, Glyphs.font(symbols), (1, grammar.length))
    random = torch.Generator().manual_seed(0)
    # Half of them valid, half of independent symbols, and one in ten with a cell that is grey.
    words = torch.randint(grammar.symbols, (SAMPLES, grammar.length), generator=random)
    words[::2] = grammar.sample(SAMPLES // 2, random)
    images = world.render(words)
    images[::10, :, :, :8] = 0.0
    images += 0.05 * torch.randn(images.shape, generator=random)
    before = memory()
    judging, verdicts = timed(lambda: judge(world, images))
    between = memory()
    assessing, _ = timed(lambda: assess(images, world))
    print(
        f"  {grammar.title:10} {judging:5.1f} s read and judged, {assessing:5.1f} s "
        f"with all that the report tells; {verdicts.legible_rate.value:.1%} legible\n"
        f"             memory {before:.2f} GiB with the images ({images.nbytes / 2**30:.2f}), "
        f"{between:.2f} GiB at most judging, {memory():.2f} GiB at most in all"
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(f"{SAMPLES:,} samples of 8 cells of 8×8 pixels")
    report(ParityConfig(8).build(), "01")
    report(DyckConfig(8, 2).build(), "()[]")
    report(ModularSumConfig(8).build(), "0123456789")
