"""Which attribution method tells what the exact optimum depends on, and from which baseline.

Prints for each world, at the level where its grammar is worth most, the rank correlation of the
Bayes denoiser's maps with the exact effect of redrawing a cell, over the cells other than the own
one. What is chosen is chosen on seed 0: the baseline of ablation and of Shapley values whose
correlation, averaged over worlds, is highest. Seeds 1-4, fresh images, confirm it or do not.
"""

import sys
import time

import torch

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.intervals import Interval, mean
from diffprobe.foundations.records import estimate, interval
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probes.attribution.judging import judge
from diffprobe.probes.attribution.maps import measure
from diffprobe.probes.attribution.methods import AT_CHOICE, BASELINES, CONTROLS, TITLES
from diffprobe.probes.attribution.ranks import truthfulness
from diffprobe.probes.attribution.truth import RESOLUTION, Truth
from diffprobe.probing.grammar_weight import GrammarWeight

CHOOSE, CONFIRM = (0,), (1, 2, 3, 4)
WORLDS = {
    "parity 6": (ParityConfig(6).build(), "01"),
    "parity 8": (ParityConfig(8).build(), "01"),
    "brackets": (DyckConfig(8, 2).build(), "()[]"),
}


def truths(world: SymbolImages, settings: AttributionConfig) -> dict[int, Truth]:
    """Return the truth and the maps for each seed."""
    scheduler = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
    oracles = {
        "bayes": BayesDenoiser(world, scheduler),
        "product": ProductDenoiser(world, scheduler),
    }
    t = GrammarWeight.of(oracles["bayes"], world).most
    print(f"  t = {t}, log-SNR {oracles['bayes'].log_snr(torch.tensor([t])).item():.2f}")
    found = {}
    for seed in (*CHOOSE, *CONFIRM):
        seeded = ProbeConfig(seed=seed)
        bayes = measure(oracles["bayes"], world, settings, seeded, t=t)
        found[seed] = judge(bayes, world, oracles, settings, seeded)
    return found


def scores(found: dict[int, Truth], seeds: tuple[int, ...], *, others: bool) -> torch.Tensor:
    """Return rank correlations of methods, then of controls: (M + controls, images)."""
    rows = []
    for seed in seeds:
        truth = found[seed]
        controls = torch.stack(list(truth.controls.values()))
        controls = truthfulness(controls, truth.effects[0], truth.region, others=others)
        rows.append(torch.cat([truth.scores(others=others), controls]))
    return torch.cat(rows, -1)


def words(found: Interval, i: int | tuple[()]) -> str:
    return interval(estimate(found, i))


def main(images: int = 64) -> None:
    settings = AttributionConfig(images=images, metric_images=0)
    chosen, confirmed, names = {}, {}, ()
    for name, (grammar, symbols) in WORLDS.items():
        begun = time.perf_counter()
        print(name)
        world = SymbolImages(grammar, Glyphs.font(symbols, (8, 8)), (1, grammar.length))
        found = truths(world, settings)
        names = found[0].methods
        chosen[name] = scores(found, CHOOSE, others=True)
        confirmed[name] = scores(found, CONFIRM, others=True)
        columns = [
            mean(values, resolution=RESOLUTION)
            for values in (chosen[name], confirmed[name], scores(found, CONFIRM, others=False))
        ]
        alone = sum(found[seed].chance(others=False) for seed in CONFIRM) / len(CONFIRM)
        print(f"  {'among the other cells':32} {'seed 0':24} {'seeds 1-4':24} with the own cell")
        for i, method in enumerate((*names, *found[0].controls)):
            title = TITLES.get(method) or CONTROLS[method]
            cells = [words(column, i) for column in columns]
            print(f"  {title:32} {cells[0]:24} {cells[1]:24} {cells[2]}")
        told = [int(column.n[0]) for column in columns]
        total = images * len(CHOOSE), images * len(CONFIRM)
        print(f"  chance: 0 among the others, {alone:.2f} with the own cell if it alone is known")
        print(f"  images told: {told[0]} of {total[0]}, {told[1]} and {told[2]} of {total[1]}")
        print(f"  {time.perf_counter() - begun:.0f} s")

    def average(method: str, by_world: dict[str, torch.Tensor]) -> float:
        i = names.index(method)
        return sum(v[i].nanmean().item() for v in by_world.values()) / len(by_world)

    print("mean over worlds, among the other cells: seed 0, seeds 1-4")
    for baseline in BASELINES:
        parts = [
            f"{TITLES[f'{method}-{baseline}']} {average(f'{method}-{baseline}', chosen):.3f}, "
            f"{average(f'{method}-{baseline}', confirmed):.3f}"
            for method in AT_CHOICE
        ]
        print("  " + "; ".join(parts))

    def both(baseline: str) -> float:
        return sum(average(f"{method}-{baseline}", chosen) for method in AT_CHOICE)

    best = max(BASELINES, key=both)
    print(f"chosen on seed 0, for both together: {best}; against the others on seeds 1-4, paired")
    for other in BASELINES:
        for method in AT_CHOICE if other != best else ():
            i, j = (names.index(f"{method}-{b}") for b in (best, other))
            gains = {
                name: mean(v[i] - v[j], resolution=RESOLUTION) for name, v in confirmed.items()
            }
            told = ", ".join(f"{name} {words(gain, ())}" for name, gain in gains.items())
            print(f"  {TITLES[method]}, minus {other}: {told}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
