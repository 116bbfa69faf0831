"""K seeds trained at once beside the same seeds one after another.

    python benchmarks/replicas.py [PRESET ...]

Both do the same steps of the same trainings, metrics left out, in turns in one process; printed is
how many times faster all at once is: the median over the turns and the range of the middle half.
"""

import dataclasses
import sys
import time
from collections.abc import Callable

import torch
from ratios import Ratio

from diffprobe.config import Config
from diffprobe.resolution import resolve
from diffprobe.training.replicas import prepare_replicas, replica_configs

PRESETS = ("hypercube-mlp", "hypercube-residual-mlp", "parity-mlp", "parity-transformer")
REPLICAS = (2, 4, 8)
TURNS = 9
SECONDS = 0.5  # of a turn


def compare(config: Config) -> Ratio:
    """Return the ratio of the time of the seeds one after another to that of all at once."""
    configs = replica_configs(config)
    alone = [prepare_replicas([each], "cpu").trainers[0] for each in configs]
    stack = prepare_replicas(configs, "cpu")
    everyone = range(len(configs))

    def one_after_another() -> None:
        for trainer in alone:
            trainer._step(trainer.state.step)
            trainer.state.step += 1

    def at_once() -> None:
        stack.step(everyone)

    contenders: tuple[Callable[[], None], ...] = (one_after_another, at_once)
    for step in contenders:
        for _ in range(3):
            step()
    begun = time.perf_counter()
    one_after_another()
    n = max(1, round(SECONDS / (time.perf_counter() - begun)))
    times: tuple[list[float], ...] = ([], [])
    for _ in range(TURNS):
        for step, each in zip(contenders, times, strict=True):
            begun = time.perf_counter()
            for _ in range(n):
                step()
            each.append(time.perf_counter() - begun)
    return Ratio.of(*times)


def with_replicas(config: Config, replicas: int) -> Config:
    training = dataclasses.replace(config.training, replicas=replicas)
    return dataclasses.replace(config, training=training)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(f"{torch.get_num_threads()} threads, medians of {TURNS} turns in one process")
    print("times as fast as one seed after another, by how many are trained at once")
    print(f"{'':24}" + "".join(f"{k:<24}" for k in REPLICAS))
    for name in sys.argv[1:] or PRESETS:
        config = resolve(preset=name, assignments=["training.steps=1000000"])
        cells = [compare(with_replicas(config, k)) for k in REPLICAS]
        print(f"{name:24}" + "".join(f"{cell!s:<24}" for cell in cells), flush=True)
