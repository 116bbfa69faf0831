"""Trajectory variance over windows chosen on one sampling seed and reported on others.

A window chosen by looking at samples is no better than it looks on samples that it was not chosen
by. For a run folder (runs/demo by default), samples of seed 0 choose among windows, and fresh
samples of seeds 1 to 4 tell how good the choice is, beside the default window: the area under the
ROC curve of each seed, and their mean with Student's interval over seeds.

    python benchmarks/detector_window.py [RUN] [SAMPLES]
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages, build_dataset
from diffprobe.intervals import student
from diffprobe.models import Denoiser, load_denoiser
from diffprobe.probes.sampling_path import Trajectories
from diffprobe.sampling import sample
from diffprobe.statistics import Auroc, auroc
from diffprobe.training.run_folder import RunFolder
from diffprobe.verdicts import judge

STEPS = 25
SEEDS = (1, 2, 3, 4)
DEFAULT = ProbeConfig().detector_window
FIFTHS = [i / 5 for i in range(6)]
# Every window whose ends are fifths of the path, the default among them.
WINDOWS = [(low, high) for low in FIFTHS for high in FIFTHS if low < high]


def areas(
    denoiser: Denoiser, dataset: SymbolImages, run: RunFolder, n: int, seed: int
) -> list[Auroc]:
    """How well the variance over each window tells invalid from valid samples of one seed."""
    watch = Trajectories(denoiser.timesteps, WINDOWS)
    settings = replace(run.config().sampling, n=n, steps=STEPS, seed=seed)
    verdicts = judge(dataset, sample(denoiser, dataset.image_shape, settings, watch=watch).images)
    scores = watch.variance.mean((2, 3, 4)).double()
    legible, invalid = verdicts.legible, ~verdicts.grammatical
    return [auroc(score[legible], invalid[legible]) for score in scores]


def over_seeds(values: list[float]) -> str:
    """The mean with Student's interval."""
    found = torch.tensor(values, dtype=torch.float64)
    half = student(torch.tensor(len(values) - 1)) * found.std() / math.sqrt(len(values))
    return f"{found.mean():.3f} ± {half:.3f}"


def main(folder: str = "runs/demo", n: str = "1000") -> None:
    run = RunFolder(Path(folder))
    config = run.config()
    dataset = build_dataset(config)
    denoiser = load_denoiser(run.path, config.sampling.weights)
    first = areas(denoiser, dataset, run, int(n), seed=0)
    if first[0].value is None:
        print(f"{folder}: nothing to choose by, the area is {first[0]}")
        return
    by_area = sorted(zip(first, WINDOWS, strict=True), key=lambda pair: -(pair[0].value or 0.0))
    print(f"{folder}: {int(n):,} samples a seed, {STEPS} steps; windows by their area on seed 0")
    for area, (low, high) in by_area:
        print(f"  {low:.1f} to {high:.1f}  {area}")
    chosen = by_area[0][1]
    fresh = [areas(denoiser, dataset, run, int(n), seed) for seed in SEEDS]
    told: dict[str, list[float]] = {}
    beside = {} if chosen == DEFAULT else {"default": DEFAULT}
    for name, window in {"chosen on seed 0": chosen, **beside}.items():
        print(f"{name}, {window[0]:.1f} to {window[1]:.1f}")
        for seed, found in zip(SEEDS, fresh, strict=True):
            area = found[WINDOWS.index(window)]
            print(f"  seed {seed}      {area}")
            if area.value is not None:
                told.setdefault(name, []).append(area.value)
        print(f"  mean area {over_seeds(told[name])}")
    if chosen == DEFAULT:
        print("the chosen window is the default")
    else:
        gains = [a - b for a, b in zip(*told.values(), strict=True)]
        print(f"chosen less default {over_seeds(gains)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
