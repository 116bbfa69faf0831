"""Trajectory variance over windows chosen on one sample and reported on others.

A window chosen by looking at samples is no better than it looks on samples that it was not chosen
by. Of one run (runs/demo by default) samples of seed 0 choose among windows, and fresh samples of
seeds 1 to 4 tell how good the choice is, beside the default window; of several runs, such as other
trainings of the same preset, the first chooses and the others tell. Mean areas have Student's
interval over seeds, or over trainings.

    python benchmarks/detector_window.py [RUN …]
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.intervals import over_runs
from diffprobe.foundations.ranks import Auroc, auroc
from diffprobe.foundations.records import estimate, interval
from diffprobe.models import load_denoiser
from diffprobe.probes.detectors import DetectorsConfig
from diffprobe.probing.sampling_path import Trajectories
from diffprobe.sampling import sample
from diffprobe.training.run_folder import RunFolder

STEPS = 25
SAMPLES = 1000
SEEDS = (1, 2, 3, 4)
DEFAULT = DetectorsConfig().window
FIFTHS = [i / 5 for i in range(6)]
# Every window whose ends are fifths of the path, the default among them.
WINDOWS = [(low, high) for low in FIFTHS for high in FIFTHS if low < high]


def areas(run: RunFolder, seed: int) -> list[Auroc]:
    """How well the variance over each window tells invalid from valid samples of one seed."""
    config = run.config()
    dataset = config.dataset()
    denoiser = load_denoiser(run.path, config.sampling.weights)
    watch = Trajectories(denoiser.timesteps, WINDOWS)
    settings = replace(config.sampling, n=SAMPLES, steps=STEPS, seed=seed)
    made = sample(denoiser, dataset.image_shape, config.sampler, settings, watch=watch)
    verdicts = judge(dataset, made.images)
    scores = watch.variance.mean((2, 3, 4)).double()
    legible, invalid = verdicts.legible, ~verdicts.grammatical
    return [auroc(score[legible], invalid[legible]) for score in scores]


def told(values: list[float]) -> str:
    """The mean with Student's interval."""
    return interval(estimate(over_runs(torch.tensor(values, dtype=torch.float64))))


def main(*folders: str) -> None:
    runs = [RunFolder(Path(folder)) for folder in folders or ("runs/demo",)]
    if len(runs) == 1:
        others = [(runs[0], seed, f"seed {seed}") for seed in SEEDS]
    else:
        others = [(run, 0, run.path.name) for run in runs[1:]]
    first = areas(runs[0], seed=0)
    if first[0].value is None:
        print(f"{runs[0].path.name}: nothing to choose by, the area is {first[0]}")
        return
    by_area = sorted(zip(first, WINDOWS, strict=True), key=lambda pair: -(pair[0].value or 0.0))
    print(f"{runs[0].path.name}, {SAMPLES:,} samples, {STEPS} steps: windows by their area")
    for area, (low, high) in by_area:
        print(f"  {low:.1f} to {high:.1f}  {area}")
    chosen = by_area[0][1]
    fresh = [(areas(run, seed), name) for run, seed, name in others]
    means: dict[str, list[float]] = {}
    beside = {} if chosen == DEFAULT else {"default": DEFAULT}
    for what, window in {"chosen": chosen, **beside}.items():
        print(f"{what}, {window[0]:.1f} to {window[1]:.1f}")
        for found, name in fresh:
            area = found[WINDOWS.index(window)]
            print(f"  {name:10} {area}")
            if area.value is not None:
                means.setdefault(what, []).append(area.value)
        print(f"  mean area {told(means[what])}")
    if chosen == DEFAULT:
        print("the chosen window is the default")
    else:
        print(f"chosen less default {told([a - b for a, b in zip(*means.values(), strict=True)])}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
