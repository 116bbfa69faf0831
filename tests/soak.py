"""Endurance: `make soak`, or `python tests/soak.py KILLS STEPS`.

A training is killed at random moments and goes on each time, to the same bits as one that was left
alone; its disk is full at every single write; and it takes many steps without growing.
"""

import logging
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
import pytest
import test_kill
import torch
from conftest import TINY
from scipy import stats

from diffprobe.config import Config
from diffprobe.foundations.atomic import PARTIAL
from diffprobe.foundations.errors import DiffprobeError
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.resolution import resolve
from diffprobe.training import RunFolder, train

TEN_HOURS = 36_000  # seconds
BLOCKS = 20  # of the samples of memory, each taken for one number
GROWTH = 64 * 2**20  # bytes in ten hours that are still no leak


def small(steps: int, every: int, checkpoints: int) -> Config:
    """A training in which writing takes as long as the steps do."""
    config = resolve(assignments=TINY)
    training = replace(
        config.training,
        steps=steps,
        save_every=every,
        log_every=every,
        checkpoints=checkpoints,
        batch_size=8,
        validation_size=8,
    )
    return replace(config, network=MLPConfig(width=8), training=training)


# ---- SIGKILL -------------------------------------------------------------------------------------


def killed(n: int, folder: Path, seed: int) -> Counter[str]:
    """Kill trainings `n` times in all, until each is done, and compare it with one left alone.

    Returns:
        How many kills hit what, and how many trainings ended with the same bits.
    """
    config = small(100, 2, 5)
    whole = train(config, folder / "whole", "cpu", False)
    # Forked by a process that has imported all of it: a kill is to hit a training.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffprobe.training.loop", "pytest", "scipy.stats"])
    moments = random.Random(seed)
    told: Counter[str] = Counter()
    kills, longest, run = 0, 0.0, folder / "run"
    while kills < n or run.exists():
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_trained, args=(config, run, sender))
        process.start()
        receiver.recv()
        begun = time.monotonic()
        # The first is let through, to learn how long one takes.
        process.join(moments.uniform(0, longest / 2) if longest and kills < n else None)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            told[_moment(run)] += 1
            continue
        assert process.exitcode == 0
        longest = longest or time.monotonic() - begun
        test_kill.assert_same(RunFolder(run), whole)
        assert not list(run.rglob(f"{PARTIAL}*"))
        shutil.rmtree(run)
        told["trainings of the same bits"] += 1
    return told


def _trained(config: Config, run: Path, sender: Connection) -> None:
    torch.set_num_threads(1)
    logging.disable()
    sender.send("begins")
    train(config, run, "cpu", False)


def _moment(run: Path) -> str:
    if list(run.rglob(f"{PARTIAL}*")):
        return "kills while a file was being written"
    if not (run / "state.safetensors").exists():
        return "kills before the first save"
    return "kills between two writes"


# ---- full disk -----------------------------------------------------------------------------------


def full_disk(folder: Path) -> int:
    """Let the disk be full from each of the writes of a training on; return how many there are."""
    config = test_kill.four_steps(resolve(assignments=TINY))
    with pytest.MonkeyPatch.context() as patch:
        calls = test_kill.watching(patch)
        return test_kill.end_at_every_call(config, test_kill.fill, DiffprobeError, calls, folder)


# ---- many steps ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What a training had taken at a step."""

    step: int
    bytes: int
    files: int
    open_files: int
    threads: int


class Watch:
    """Stands for progress, and looks at the process every so many steps."""

    def __init__(self, run: Path, every: int) -> None:
        self.run, self.every = run, every
        self.taken: list[Taken] = []
        self.steps: Any = ()

    def __call__(self, steps: Any, **options: Any) -> "Watch":
        self.steps = steps
        return self

    def __iter__(self) -> Iterator[int]:
        process = psutil.Process()
        for step in self.steps:
            if step % self.every == 0:
                size, files = process.memory_info().rss, len(list(self.run.rglob("*")))
                opened, threads = process.num_fds(), process.num_threads()
                self.taken.append(Taken(step, size, files, opened, threads))
            yield step

    def set_postfix(self, **values: Any) -> None:
        pass

    def close(self) -> None:
        pass


def many_steps(steps: int, folder: Path) -> list[Taken]:
    """Train a tiny model; return what it had taken in the last four fifths of its steps."""
    every = max(1, steps // 1000)
    watch = Watch(folder / "run", every)
    train(small(steps, 50 * every, 4), watch.run, "cpu", watch)
    return watch.taken[len(watch.taken) // 5 :]


def growth(taken: list[Taken]) -> tuple[float, float]:
    """Return by how many bytes memory grows with a step, and half its 95 % interval."""
    blocks = np.array_split(np.array([(t.step, t.bytes) for t in taken], float), BLOCKS)
    step, size = np.array([block.mean(0) for block in blocks]).T
    fit = stats.linregress(step, size)
    return float(fit.slope), float(stats.t.ppf(0.975, BLOCKS - 2) * fit.stderr)


def demo_steps(folder: Path) -> int:
    """Return how many steps of the demo ten hours are, on this machine as it is now."""
    config = resolve(preset="demo", assignments=["training.steps=60", "training.checkpoints=1"])
    line = train(config, folder / "demo", "cpu", False).metrics()[-1]
    return round(TEN_HOURS * line["step"] / line["seconds"])


def main(kills: int, steps: int) -> int:
    """Do all of it, print the counts, and return 1 where a promise was broken."""
    torch.set_num_threads(1)
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        click.echo(
            f"full disk: at each of {full_disk(place / 'full')} calls that write, nothing lost"
        )
        seed = time.time_ns() % 10**6
        for what, count in sorted(killed(kills, place / "killed", seed).items()):
            click.echo(f"SIGKILL: {count} {what}")
        taken = many_steps(steps, place)
        slope, half = growth(taken)
        whole = demo_steps(place)
    first, last = taken[0], taken[-1]
    bound = (slope + half) * whole
    click.echo(
        f"steps: {steps:,}; memory {last.bytes / 2**20:.1f} MiB, growing by {slope:.3f} "
        f"± {half:.3f} bytes a step: by at most {bound / 2**20:.1f} MiB in {whole:,} steps, ten "
        "hours of the demo's on this machine"
    )
    for what in ("files", "open_files", "threads"):
        click.echo(f"{what.replace('_', ' ')}: {getattr(first, what)}, {getattr(last, what)}")
    same = (first.open_files, first.threads) == (last.open_files, last.threads)
    if bound > GROWTH or not same or last.files > first.files + 20:
        click.echo("BROKEN: it grows")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
