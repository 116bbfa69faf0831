"""Samples a second of one and of two processes at the same global batch, one thread each.

The two take turns with a training in the first of them alone, so that both sides see the same
machine: medians of turns, and quartiles of each turn's ratio.
"""

import os
import statistics
import subprocess
import sys
import time

import torch
import torch.distributed as dist
from ratios import Ratio

from diffprobe.config import Config
from diffprobe.resolution import resolve
from diffprobe.training.loop import Trainer
from diffprobe.training.processes import make_accelerator

PRESETS = ("parity-mlp", "parity-transformer", "digit-sum-unet")
PROCESSES = 2
TURNS = 9
SECONDS = 1.5  # of a turn


def settings(preset: str) -> Config:
    return resolve(preset=preset, assignments=["training.steps=1000000"])


def trained(trainer: Trainer, steps: int) -> float:
    """Train so many steps; return the seconds of one, with the question whether to stop."""
    begun = time.perf_counter()
    for _ in range(steps):
        trainer._step(trainer.state.step)
        trainer.processes.most(0)
        trainer.state.step += 1
    return (time.perf_counter() - begun) / steps


def compare(preset: str, one: Trainer, both: Trainer) -> None:
    """Print the samples a second of one process and of both, and their ratio."""
    trained(one, 3)
    trained(both, 3)
    count = torch.tensor(max(1, round(SECONDS / trained(one, 3))))
    dist.broadcast(count, 0)
    singles, togethers = [], []
    for _ in range(TURNS):
        dist.barrier()
        togethers.append(trained(both, int(count)))
        dist.barrier()
        if dist.get_rank() == 0:  # the other waits
            singles.append(trained(one, int(count)))
    if dist.get_rank() == 0:
        batch = one.config.training.batch_size
        by_one, by_both = (batch / statistics.median(each) for each in (singles, togethers))
        print(
            f"{preset:20} batch {batch:4}: {by_one:8.0f} samples/s by 1 process, {by_both:8.0f} by "
            f"{PROCESSES}: {Ratio.of(singles, togethers)} ×",
            flush=True,
        )


def main(presets: list[str]) -> None:
    torch.set_num_threads(1)
    started = {name: os.environ.pop(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    single = {name: Trainer(settings(name), make_accelerator("cpu", "no")) for name in presets}
    assert all(trainer.processes.count == 1 for trainer in single.values())
    os.environ |= started
    accelerator = make_accelerator("cpu", "no")
    if dist.get_rank() == 0:
        print(f"1 thread a process, {os.cpu_count()} cores; medians of {TURNS} turns", flush=True)
    for name, one in single.items():
        compare(name, one, Trainer(settings(name), accelerator))


if __name__ == "__main__":
    if "RANK" in os.environ:
        main(sys.argv[1:] or [*PRESETS])
    else:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={PROCESSES}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launch, __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
