"""One table of ratios: everything that is fast, beside what one would run instead.

    python benchmarks/bench.py

Both sides of a ratio are measured in turns in one process: its median and the range of the middle
half, above 1 where diffprobe is the faster. The parts, each a file that prints more of itself when
run alone, talk on stderr; the table is what stdout gets.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import inference
import jacobian
import precision
import replicas
import sampling
import torch
import training

from diffprobe.foundations.allocator import keep_freed_memory
from diffprobe.resolution import resolve


class Row(NamedTuple):
    """One line of the table."""

    part: str
    what: str
    beside: str
    found: str
    wanted: str = ""


# The networks on which other libraries should be outrun by more than nothing.
AHEAD = {"hypercube-mlp": "≥ 2", "hypercube-residual-mlp": "≥ 1.3"}


def of_training() -> Iterator[Row]:
    for preset in training.PRESETS:
        for name, ratio in training.compare(preset).items():
            if name == "bare loop":
                yield Row("training", preset, name, str(ratio), "≥ 0.97")
            elif name != "diffprobe":
                yield Row("training", preset, name, str(ratio), AHEAD.get(preset, "≥ 1"))


def of_precision() -> Iterator[Row]:
    yield Row("bf16", "parity-unet", "float32", str(precision.main()["autocast"]), "≥ 1.5")


def of_replicas() -> Iterator[Row]:
    for preset in replicas.PRESETS:
        config = resolve(preset=preset, assignments=["training.steps=1000000"])
        ratio = replicas.compare(replicas.with_replicas(config, 4))
        yield Row("4 replicas", preset, "one after another", str(ratio), "≥ 1.3")


def of_sampling() -> Iterator[Row]:
    for preset, steps in sampling.PRESETS.items():
        for sampler in (sampling.DDIMConfig(), sampling.DPMSolverConfig()):
            ratio = sampling.compare(preset, steps, sampler)
            yield Row(f"sampling, {sampler.name}", preset, "bare loop", str(ratio), "≥ 0.95")


def of_probing() -> Iterator[Row]:
    for name, times in jacobian.all_cells_to_a_precision().items():
        yield Row("LDR to ± .01", "U-Net, 16 cells", name, f"{times:.0f}")


def of_inference() -> Iterator[Row]:
    ratio = 1 / inference.beside_a_unet()
    yield Row("Bayes denoiser", "brackets, 64 cells", "a U-Net", f"{ratio:.1f}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    keep_freed_memory()
    begun, rows = time.monotonic(), []
    with contextlib.redirect_stdout(sys.stderr):
        for part in (of_training, of_precision, of_replicas, of_sampling, of_probing, of_inference):
            rows += [*part()]
    print(f"{torch.get_num_threads()} threads, {time.monotonic() - begun:.0f} s; times as fast")
    print(f"{'part':22} {'of':24} {'beside':28} {'median (middle half)':24} wanted")
    for row in rows:
        print(f"{row.part:22} {row.what:24} {row.beside:28} {row.found:24} {row.wanted}".rstrip())
