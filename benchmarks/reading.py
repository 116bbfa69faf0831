"""The reader's calibration: what it refuses of clean symbols, and how its corrections cover."""

import itertools
import sys
from collections.abc import Iterator

import torch

from diffprobe.config import SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.evaluation import reading
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.statistics import wilson
from diffprobe.models import ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.ddpm import DDPMConfig
from diffprobe.sampling.samplers.dpm_solver import DPMSolverConfig
from diffprobe.sampling.samplers.euler import EulerConfig

SAMPLERS = (DDPMConfig(), DDIMConfig(), DPMSolverConfig(), EulerConfig())


def refused() -> None:
    """The product oracle draws every symbol as it should be: what is refused is a false alarm."""
    world = SymbolImages(CopyConfig(6, 10).build(), Glyphs.font("0123456789", variants=2), (1, 6))
    oracle = ProductDenoiser(world, noise_scheduler(NoiseConfig()))
    print("cells of the product oracle that are refused, digits of a font in two variants")
    for sampler, steps in itertools.product(SAMPLERS, (10, 25, 50)):
        config = SamplingConfig(n=256, steps=steps, batch_size=256)
        images = sample(oracle, world.image_shape, sampler, config).images
        verdicts = judge(world, images)
        cells = verdicts.legible_cells
        found = reading.calibrate(world, reading.residual_noise(world, images, verdicts))
        print(
            f"  {sampler.name:12} {steps:2} steps: {wilson(int((~cells).sum()), cells.numel())}; "
            f"calibrated refused {found.refused}, misread {found.misread}"
        )


def corrected(rounds: int) -> Iterator[tuple[str, int, int]]:
    """Yield how often the corrected grammatical rate, and that of one kind, are covered.

    Words, the reader's errors on them, and the calibration are all drawn anew each time.
    """
    grammar = CopyConfig(4, 3).build()
    shares = torch.tensor([[0.98, 0.02, 0], [0.01, 0.96, 0.03], [0, 0, 1]]).double()
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    right = grammar.contains(every)
    kernel = torch.stack([shares[:, every[:, i]][every[:, i]] for i in range(4)]).prod(0)
    kind = "cell 2 differs from cell 0"
    n = 1000
    for valid, cells in itertools.product((0.02, 0.1, 0.5, 0.9, 1.0), (51, 150)):
        per_word = torch.where(right, valid / right.sum(), (1 - valid) / (~right).sum()).double()
        truth = float(per_word[grammar.violations(every)[kind]].sum())
        random, covered, of_kind = torch.Generator().manual_seed(0), 0, 0
        for _ in range(rounds):
            words = every[(per_word @ kernel).multinomial(n, replacement=True, generator=random)]
            tested = shares.multinomial(cells, replacement=True, generator=random)
            confusion = torch.stack([row.bincount(minlength=3) for row in tested])
            found = reading.correct_grammatical(grammar, words, confusion)
            covered += found.low <= valid <= found.high
            one = reading.correct_kinds(grammar, words, confusion)[kind]
            of_kind += one.low <= truth <= one.high
        yield f"{valid:4.0%} valid, {n:,} samples, {cells:3} cells calibrated", covered, of_kind


def coverage(rounds: int) -> None:
    print(f"95 % intervals of corrected rates, {rounds} rounds: grammatical, one kind")
    for name, covered, of_kind in corrected(rounds):
        print(f"  {name} a symbol: {covered / rounds:.1%}, {of_kind / rounds:.1%}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    refused()
    coverage(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
