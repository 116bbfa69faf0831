"""How soon anything answers, beside bare Python: help, import, first words, first training step.

Each is started in a process of its own, in turns with `python -c pass`; printed are the median over
the turns, the range of the middle half, and the same less what bare Python takes.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TURNS = 9
STEPS = "import sys; from diffprobe.cli import run; sys.exit(run(sys.argv[1:]))"
# Ends as soon as a step is done: what follows is the end of a training, not its beginning.
ONE_STEP = """
import os
from diffprobe.training.loop import Trainer

whole = Trainer._step
Trainer._step = lambda *arguments: (whole(*arguments), os._exit(0))
"""
TINY = ["--set", "training.checkpoints=1", "--set", "training.validation_size=16"]


def until_it_ends(code: str, *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    return time.perf_counter() - begun


def until_it_speaks(*arguments: str) -> float:
    """Seconds until the first byte on stdout or stderr."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "diffprobe", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


def until_a_step(folder: Path) -> float:
    """Seconds from start to the end of a training's first step."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        return until_it_ends(ONE_STEP + STEPS, "train", "--preset", "demo", "--out", f"{out}/run")


def table(folder: Path) -> None:
    run = str(folder / "run")
    until_it_ends(STEPS, "train", "--preset", "demo", "--steps", "1", "--out", run, *TINY)
    until_it_ends(STEPS, "sample", run, "--n", "8", "--sampler-steps", "2")
    rows = {
        "help, to its end": lambda: until_it_ends(STEPS, "--help"),
        "import diffprobe": lambda: until_it_ends("import diffprobe"),
        **{
            f"{command[0]}, to its first word": lambda command=command: until_it_speaks(*command)
            for command in (
                ["train", "--preset", "demo", "--out", str(folder / "other")],
                ["sample", run, "--n", "8"],
                ["probe", run],
                ["report", run],
                ["runs", str(folder)],
                ["presets"],
                ["kinds"],
            )
        },
        "train, to the end of a first step": lambda: until_a_step(folder),
    }
    print(f"{'':33} {'seconds':>8} {'middle half':>16} {'over bare Python':>18}")
    for name, measure in rows.items():
        turns = [(until_it_ends("pass"), measure()) for _ in range(TURNS)]
        low, middle, high = statistics.quantiles([mine for _, mine in turns], n=4)
        over = statistics.median(mine - bare for bare, mine in turns)
        print(f"{name:33} {middle:8.2f} {low:8.2f} to {high:4.2f} {over:18.2f}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        table(Path(folder))
