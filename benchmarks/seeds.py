"""How much headline numbers vary from one training to the next.

    python benchmarks/seeds.py demo
    python benchmarks/seeds.py dyck-transformer --set stream.name=finite --set stream.words=112 \
        --name dyck-112
    python benchmarks/seeds.py digit-sum-unet --seeds 0 1 2 3 4 --out runs

Trains a preset once for each seed (a finished run is not trained again), samples, judges and
probes it, every time with fresh words, noise and initial weights. What a probe prints as ± is the
error of one training's number; here the interval is Student's over trainings.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations import progress
from diffprobe.foundations.intervals import over_runs
from diffprobe.foundations.records import estimate, interval
from diffprobe.models import load_denoiser
from diffprobe.probing import open_subject, run_probes
from diffprobe.resolution import resolve
from diffprobe.sampling import sample
from diffprobe.training import train


def numbers(
    out: Path, preset: str, seed: int, assignments: list[str], level: int
) -> dict[str, Any]:
    """Return the headline numbers of one training, and the level at which they were taken."""
    seeds = [f"{section}.seed={seed}" for section in ("data", "training", "sampling", "probe")]
    # The two levels that are told are visited whatever the number of others.
    config = resolve(preset=preset, assignments=["probe.levels=2", *assignments, *seeds])
    run = train(config, out, "cpu", progress.terminal)
    dataset = config.dataset()
    denoiser = load_denoiser(run.path, config.sampling.weights)
    made = sample(denoiser, dataset.image_shape, config.sampler, config.sampling)
    verdicts = judge(dataset, made.images)
    config = replace(config, probe=replace(config.probe, level=level))
    subject = open_subject(run.path, config, progress=progress.terminal)
    found = run_probes(subject, ["locality", "placement"], out=run.path / "probes" / "seeds")
    probes = found.summary()["probes"]
    result: dict[str, Any] = {
        "level": subject.level,
        "legible": verdicts.legible_rate.value,
        "grammatical, of the legible": verdicts.grammatical_rate.value,
        "chance": verdicts.product_rate,
    }
    rows = probes["locality"]["levels"]
    for where, t in (("symbols form", subject.forms_at), ("grammar", subject.level)):
        row = next(row for row in rows if row["t"] == t)
        for who in ("network", "bayes"):
            result[f"LDR, {who}, where {where}"] = row["ldr"][who]["value"]
        result[f"excess LDR, where {where}"] = row["excess_ldr"]["value"]
    for name, record in probes["placement"].items():
        if isinstance(record, dict):
            result[name.replace("_", " ")] = record["value"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--name", help="Runs are OUT/NAME-SEED.  [default: the preset]")
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    for seed in asked.seeds:
        out = asked.out / f"{asked.name or asked.preset}-{seed}"
        level = found[0]["level"] if found else -1
        found.append(numbers(out, asked.preset, seed, asked.assignments, level))
    print(f"{asked.name or asked.preset}: seeds {', '.join(map(str, asked.seeds))}")
    for name in found[0]:
        values = [run[name] for run in found if run.get(name) is not None]
        if name == "level" or len(values) < 2:
            continue
        mean = interval(estimate(over_runs(torch.tensor(values, dtype=torch.float64))))
        each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {name:38} {mean:18} sd {statistics.stdev(values):.3f}   {each}")


if __name__ == "__main__":
    main()
