"""The pool of a frontier: samplers, numbers of steps, checkpoints and sets of weights, drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.frontier.envelope import (
    Curve,
    Frontier,
    check_budgets,
    check_samples,
    frontier,
)
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind


@dataclass(frozen=True)
class Pool:
    """Every denoiser with every sampler in every number of steps.

    Attributes:
        denoisers: By what they are, such as "step 1600, ema"; all of one world.
        samplers: Their settings.
        steps: Of the sampler.

    Raises:
        UsageError: If nothing is in it.
    """

    denoisers: Mapping[str, Denoiser]
    samplers: Sequence[SamplerKind]
    steps: Sequence[int]

    def __post_init__(self) -> None:
        parts = {
            "denoiser": self.denoisers,
            "sampler": self.samplers,
            "number of steps": self.steps,
        }
        if missing := [name for name, part in parts.items() if not part]:
            raise UsageError(f"the pool is empty: it has no {missing[0]}")


def draw_pool(
    pool: Pool,
    dataset: SymbolImages,
    config: SamplingConfig | None = None,
    progress: Progress = silent,
    *,
    bayes: bool = True,
) -> Frontier:
    """Sample from all of a pool and return its frontier.

    Budgets are the numbers of steps, in evaluations of the denoiser; a sampler that evaluates more
    often than it steps has fewer steps within one.

    Args:
        pool: What is sampled.
        dataset: Whose grammar judges.
        config: How many samples, seed and batch size; its steps are not used, and neither are
            guidance and rejection, which are not the denoiser's.
        progress: Called as tqdm is.
        bayes: Whether to sample from the Bayes optimum too.

    Raises:
        UsageError: If the samplers do not fit the denoisers, or a number is out of range.
    """
    config = (config or SamplingConfig()).plain
    check_samples(config.n)
    steps = [int(budget) for budget in check_budgets(pool.steps)]
    schedulers = {denoiser.schedule.is_flow for denoiser in pool.denoisers.values()}
    if bayes and len(schedulers) > 1:
        raise UsageError("a pool of diffusions and flows has no one optimum: leave it out")
    first = next(iter(pool.denoisers.values()))
    optima = (
        {"Bayes optimum": BayesDenoiser(dataset, first.scheduler).to(first.device)} if bayes else {}
    )
    ways = [
        (name, denoiser, sampler)
        for name, denoiser in [*pool.denoisers.items(), *optima.items()]
        for sampler in dict.fromkeys(pool.samplers)
    ]
    curves = []
    with progress(total=len(ways), desc="pool", unit="member") as bar:
        for name, denoiser, sampler in ways:
            title = f"{name}, {sampler.title}"
            curves.append(curve_of(title, denoiser, sampler, steps, dataset, config))
            bar.update()
    members = len(pool.denoisers) * len(dict.fromkeys(pool.samplers))
    return frontier(curves[:members], steps, curves[members:], config.seed)


def curve_of(
    name: str,
    denoiser: Denoiser,
    sampler: SamplerKind,
    steps: Sequence[int],
    dataset: SymbolImages,
    config: SamplingConfig,
) -> Curve:
    """Return the curve of one way to sample over increasing numbers of steps."""
    points = [valid_samples(denoiser, sampler, replace(config, steps=n), dataset) for n in steps]
    spent, valid = zip(*points, strict=True)
    return Curve(name, spent, torch.stack(valid))


def valid_samples(
    denoiser: Denoiser, sampler: SamplerKind, config: SamplingConfig, dataset: SymbolImages
) -> tuple[float, Tensor]:
    """Return evaluations of the denoiser for a sample, and which samples are valid: (n,) bool."""
    drawn = sample(denoiser, dataset.image_shape, sampler, config, silent, dataset=dataset)
    return drawn.price["evaluations"], judge(dataset, drawn).grammatical
