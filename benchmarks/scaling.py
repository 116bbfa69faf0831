"""How the cost of each part grows with what it is given, beside what theory says.

    python benchmarks/scaling.py [FOLDER]   # the figure goes to FOLDER, by default docs/figures

Every part is timed at sizes that double, in turns, the best of several runs of each. The exponent
is the slope of log time over the upper sizes, where what does not grow no longer counts; its
interval is Student's for the scatter around that line. A slope below theory's means that this
machine was not yet busy with what grows; one above it, that memory or caches ran out.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import t as student
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.copy import CopyConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.modular_sum import ModularSumConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.symbol_images import hypercube
from diffprobe.evaluation import assess
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.models import BayesDenoiser, Denoiser, NetworkDenoiser, noise_scheduler
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import EmpiricalDenoiser
from diffprobe.probing.jacobian import estimated_energies, exact_jacobian
from diffprobe.probing.noise_levels import noisy_inputs
from diffprobe.probing.regions import Regions
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig

SCHEDULER = noise_scheduler(NoiseConfig())
LEVEL = 400
RUNS = 5
SECONDS = 0.05  # that a run lasts at least, by repeating what is quicker
LONGEST = 2.0  # seconds; what takes longer is run once
UPPER = 5  # sizes that the exponent is of

Work = Callable[[], object]


@dataclass(frozen=True)
class Part:
    """One part and one axis along which it grows.

    Attributes:
        name: What is done, the rest fixed.
        axis: What doubles.
        theory: The exponent of the costliest term.
        sizes: Ascending.
        make: Prepares the work of a size.
    """

    name: str
    axis: str
    theory: float
    sizes: Sequence[int]
    make: Callable[[int], Work]


def measure(part: Part) -> list[float]:
    """Return the seconds at each size."""
    works, repeats = [part.make(size) for size in part.sizes], []
    for work in works:
        work()
        once = _seconds(work, 1)
        repeats.append(max(1, math.ceil(SECONDS / once)))
    best = [math.inf] * len(works)
    for run in range(RUNS):
        for i, work in enumerate(works):
            if run == 0 or best[i] * repeats[i] < LONGEST:
                best[i] = min(best[i], _seconds(work, repeats[i]))
    return best


def _seconds(work: Work, times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return the slope of log time over the upper sizes, and the half-width of its interval."""
    x = torch.tensor(sizes[-UPPER:]).double().log()
    y = torch.tensor(seconds[-UPPER:]).double().log()
    x = x - x.mean()
    slope = (x * y).sum() / x.square().sum()
    rest = y - y.mean() - slope * x
    freedom = len(x) - 2
    error = (rest.square().sum() / freedom / x.square().sum()).sqrt()
    return float(slope), float(student.ppf(0.975, freedom) * error)


def network(config: TransformerConfig | UNetConfig, world: SymbolImages) -> Denoiser:
    return NetworkDenoiser(config.build(world.image_shape).eval(), SCHEDULER).requires_grad_(False)


def strip(length: int, cell: tuple[int, int] = (8, 8)) -> SymbolImages:
    """Parity of `length` signs in one row."""
    return SymbolImages(ParityConfig(length).build(), Glyphs.font("01", cell), (1, length))


def square(side: int) -> SymbolImages:
    """Parity of side² cells of 8×8 pixels."""
    return SymbolImages(ParityConfig(side * side).build(), Glyphs.font("01"), (side, side))


def noise(world: SymbolImages, n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, *world.image_shape), torch.full((n,), LEVEL)


def bayes_by_length(length: int) -> Work:
    world = hypercube(ParityConfig(length).build())
    oracle, inputs = BayesDenoiser(world, SCHEDULER), noise(world, 256)
    return lambda: oracle(*inputs)


def brackets_by_length(length: int) -> Work:
    grammar, scores = DyckConfig(length, 2).build(), torch.randn(64, length, 4)
    return lambda: grammar.marginals(scores)


def sums_by_alphabet(base: int) -> Work:
    grammar, scores = ModularSumConfig(8, base, base).build(), torch.randn(64, 8, base)
    return lambda: grammar.marginals(scores)


def empirical_by_images(images: int) -> Work:
    world = strip(8)
    oracle = EmpiricalDenoiser(world.draw_images(images, torch.Generator()), SCHEDULER)
    inputs = noise(world, 64)
    return lambda: oracle(*inputs)


def reading_by_pixels(side: int) -> Work:
    world = strip(8, (side, side))
    images = world.draw_images(1024, torch.Generator())
    return lambda: judge(world, images)


def reading_by_alphabet(symbols: int) -> Work:
    characters = "".join(chr(ord("A") + i) for i in range(26)) + "".join(
        chr(ord("a") + i) for i in range(26)
    )
    characters += "0123456789αβ"
    glyphs = Glyphs.font(characters[:symbols], (12, 12))
    world = SymbolImages(CopyConfig(8, symbols).build(), glyphs, (1, 8))
    images = world.draw_images(4096, torch.Generator())
    return lambda: judge(world, images)


def judging_by_samples(n: int) -> Work:
    world = strip(8)
    images = world.draw_images(n, torch.Generator())
    return lambda: judge(world, images)


def telling_by_samples(n: int) -> Work:
    world = strip(8)
    images = world.draw_images(n, torch.Generator())
    return lambda: assess(images, world)


def locality_by_regions(side: int) -> Work:
    world = square(4)
    unet = UNetConfig(channels=(16, 32), attention=(False, False), layers_per_block=1)
    denoiser = network(unet, world)
    regions = Regions.grid(world.image_shape, side, side)
    x_t = noisy_inputs(denoiser, world, 4, LEVEL, 0)
    return lambda: estimated_energies(denoiser, x_t, LEVEL, regions, 1, torch.Generator())


def jacobian_by_pixels(length: int) -> Work:
    world = strip(length, (4, 4))
    unet = UNetConfig(channels=(16, 32), attention=(False, False), layers_per_block=1)
    denoiser = network(unet, world)
    x_t = noisy_inputs(denoiser, world, 4, LEVEL, 0)
    return lambda: exact_jacobian(denoiser, x_t, LEVEL)


def training_by_tokens(length: int) -> Work:
    return _training(TransformerConfig(patch=(8, 8)), strip(length))


def training_by_pixels(length: int) -> Work:
    unet = UNetConfig(channels=(16, 32), attention=(False, False), layers_per_block=1)
    return _training(unet, strip(length))


def _training(config: TransformerConfig | UNetConfig, world: SymbolImages) -> Work:
    model = config.build(world.image_shape)
    x_t, t = noise(world, 8)

    def step() -> None:
        model(x_t, t).sample.square().mean().backward()
        model.zero_grad()

    return step


def sampling_by_steps(steps: int) -> Work:
    world = strip(8)
    denoiser = network(TransformerConfig(patch=(8, 8), width=64, depth=2, heads=2), world)
    config = SamplingConfig(n=32, steps=steps, batch_size=32)
    return lambda: sample(denoiser, world.image_shape, DDIMConfig(), config, progress=False)


def doubling(first: int, last: int) -> list[int]:
    return [first * 2**i for i in range(int(math.log2(last / first)) + 1)]


PARTS = (
    Part("Bayes oracle of an automaton", "word length", 1, doubling(16, 1024), bayes_by_length),
    Part("marginals of brackets", "word length", 3, doubling(16, 256), brackets_by_length),
    Part("marginals of sums mod V", "alphabet V", 2, doubling(8, 256), sums_by_alphabet),
    Part("empirical oracle", "training images", 1, doubling(256, 16384), empirical_by_images),
    Part("reading and judging", "pixels (side of a cell)", 2, doubling(4, 64), reading_by_pixels),
    Part("reading and judging", "alphabet", 1, doubling(4, 64), reading_by_alphabet),
    Part("reading and judging", "samples", 1, doubling(1024, 65536), judging_by_samples),
    Part("all that a report tells", "samples", 1, doubling(4096, 131072), telling_by_samples),
    Part("locality, a projection", "side of the grid", 2, doubling(1, 16), locality_by_regions),
    Part("exact Jacobian, U-Net", "pixels (cells of 16)", 2, doubling(2, 32), jacobian_by_pixels),
    Part("training step, transformer", "cells", 1, doubling(4, 128), training_by_tokens),
    Part("training step, U-Net", "cells", 1, doubling(4, 128), training_by_pixels),
    Part("sampling", "steps", 1, doubling(4, 64), sampling_by_steps),
)


def main(folder: Path) -> None:
    columns = 4
    rows = math.ceil(len(PARTS) / columns)
    with figure(folder / "scaling", 12.0, 2.6 * rows) as canvas:
        axes = canvas.subplots(rows, columns).flatten()
        for part, ax in zip(PARTS, axes, strict=False):
            with torch.no_grad() if "oracle" in part.name else torch.enable_grad():
                seconds = measure(part)
            slope, half = exponent(part.sizes, seconds)
            told = f"{slope:.2f} ± {half:.2f}"
            print(
                f"  {part.name:29} {part.axis:24} {part.sizes[0]:6} to {part.sizes[-1]:6}  "
                f"{seconds[-1]:8.4f} s at most  exponent {told}, theory {part.theory:g}",
                flush=True,
            )
            ax.loglog(part.sizes, seconds, "o", color=COLORS["network"], base=2)
            ax.set_yscale("log", base=10)
            upper = part.sizes[-UPPER:]
            middle = math.exp(sum(map(math.log, seconds[-UPPER:])) / UPPER)
            centre = math.exp(sum(map(math.log, upper)) / UPPER)
            for power, style in ((slope, "-"), (part.theory, "--")):
                line = [middle * (size / centre) ** power for size in upper]
                ax.plot(upper, line, style, color=COLORS["network" if style == "-" else "bayes"])
            ax.set_title(f"{part.name}\n{told}, theory {part.theory:g}")
            ax.set_xlabel(part.axis)
            ax.set_ylabel("seconds")
        for ax in axes[len(PARTS) :]:
            ax.remove()


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, best of {RUNS}; exponents of the {UPPER} largest")
    default = Path(__file__).parents[1] / "docs" / "figures"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
