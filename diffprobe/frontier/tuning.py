"""Tuning a sampler to budgets: where its noise levels lie, and how much noise it adds.

For each budget of steps the four numbers of the sampler `tuned` are sought by CMA-ES, with the
share of valid samples as reward. All candidates of a generation begin with the same noise, and each
generation with other noise, so that no noise is learned by heart; and what is kept is the mean of
the search's distribution, never the best candidate, which is best by luck too. None of this noise
is what the result is judged by: `held_out` compares on the seed of the configuration.

Reference:
    Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import check_positive
from diffprobe.foundations.statistics import Difference, Rate, paired_difference, wilson
from diffprobe.foundations.tables import Table
from diffprobe.frontier.budget_sets import FEWEST_STEPS
from diffprobe.frontier.pool import valid_samples
from diffprobe.frontier.resuming import Unfinished
from diffprobe.models.denoiser import Denoiser
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.tuned import Numbers, TunedConfig

# log2 of the exponents, and the etas.
BOUNDS = np.array([[-2.0, 2.0], [-2.0, 2.0], [0.0, 1.0], [0.0, 1.0]])
START = np.array([0.0, 0.0, 0.5, 0.5])
WIDTH = 0.3


@dataclass(frozen=True)
class Search:
    """How long is sought at each budget.

    Attributes:
        generations: Of the strategy.
        candidates: In each.
        samples: Drawn for each candidate.
    """

    generations: int = 12
    candidates: int = 8
    samples: int = 128

    def __post_init__(self) -> None:
        check_positive(generations=self.generations, samples=self.samples)
        if self.candidates < 4:
            raise UsageError(f"a generation needs 4 candidates at least, not {self.candidates}")

    def evaluations(self, budgets: Sequence[int]) -> int:
        """Return how often the denoiser is asked for an image in all."""
        return self.generations * self.candidates * self.samples * sum(budgets)


def tune_sampler(
    denoiser: Denoiser,
    dataset: SymbolImages,
    budgets: Sequence[int],
    search: Search | None = None,
    config: SamplingConfig | None = None,
    progress: Progress = silent,
    unfinished: Unfinished | None = None,
) -> TunedConfig:
    """Return the sampler whose numbers at each budget make the most samples valid.

    Args:
        denoiser: A network or an oracle.
        dataset: Whose grammar judges.
        budgets: Numbers of steps, two at least each.
        search: How long is sought.
        config: Batch size and seed; noise of the search is other noise than samples of any seed
            that a user would give begin with.
        progress: Called as tqdm is.
        unfinished: Where to keep what is found, and to go on from.

    Raises:
        UsageError: If cmaes is not installed, or a budget is out of range.
    """
    search, config = search or Search(), (config or SamplingConfig()).plain
    asked = check_steps(budgets, denoiser.timesteps)
    check_installed()
    numbers: dict[int, Numbers] = {}
    # Of each budget and generation, what its candidates' rewards were.
    rewards: dict[str, list[list[float]]] = (unfinished.read() if unfinished else None) or {}
    total = len(asked) * search.generations
    with progress(total=total, desc="tune", unit="generation") as bar:
        for steps in asked:
            known = rewards.setdefault(str(steps), [])

            def keep() -> None:
                if unfinished:
                    unfinished.keep(rewards)

            numbers[steps] = _tuned(denoiser, dataset, steps, search, config, bar, known, keep)
    return TunedConfig.of(numbers)


def check_steps(budgets: Sequence[int], timesteps: int) -> list[int]:
    """Return different budgets in order; UsageError unless a sampler can be tuned to them."""
    asked = sorted(set(budgets))
    if not asked:
        raise UsageError("there is no budget to tune to")
    if asked[0] < FEWEST_STEPS:
        raise UsageError(
            f"a budget of {asked[0]} has nothing to tune: its way goes from noise to image; ask "
            f"for {FEWEST_STEPS} steps at least"
        )
    if asked[-1] > timesteps:
        raise UsageError(
            f"a budget of {asked[-1]} steps exceeds the {timesteps} noise levels of the schedule"
        )
    return asked


def check_installed() -> None:
    """Raise UsageError where the optimiser is not installed."""
    try:
        import cmaes  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "tuning a sampler needs cmaes, which is not installed: pip install 'diffprobe[tune]'"
        ) from error


def _tuned(
    denoiser: Denoiser,
    dataset: SymbolImages,
    steps: int,
    search: Search,
    config: SamplingConfig,
    bar: Any,
    known: list[list[float]],
    keep: Callable[[], None],
) -> Numbers:
    """The numbers found. The search is walked again through generations whose rewards are known."""
    from cmaes import CMA

    strategy = CMA(
        mean=START,
        sigma=WIDTH,
        bounds=BOUNDS,
        population_size=search.candidates,
        seed=_drawn_seed(config.seed, "strategy", steps) % 2**32,
    )
    for generation in range(search.generations):
        seed = _drawn_seed(config.seed, f"generation {generation}", steps)
        settings = replace(config, steps=steps, n=search.samples, seed=seed)
        asked = [strategy.ask() for _ in range(search.candidates)]
        if generation == len(known):
            samplers = [TunedConfig.of({steps: _numbers(each)}) for each in asked]
            drawn = [valid_samples(denoiser, s, settings, dataset)[1] for s in samplers]
            known.append([float(valid.double().mean()) for valid in drawn])
            keep()
        rewards = known[generation]
        strategy.tell([(x, -reward) for x, reward in zip(asked, rewards, strict=True)])
        bar.update()
    return _numbers(strategy.mean)


def _numbers(x: Any) -> Numbers:
    clean, noisy, first, last = np.clip(x, BOUNDS[:, 0], BOUNDS[:, 1]).tolist()
    # Digits beyond these are of no use, and a file is easier to read.
    rounded = [round(number, 4) for number in (2.0**clean, 2.0**noisy, first, last)]
    return rounded[0], rounded[1], rounded[2], rounded[3]


def _drawn_seed(seed: int, purpose: str, steps: int) -> int:
    """A seed of the search's own, of 63 bits, which none that a user thinks of is."""
    return generator(seed, f"tuning, {purpose}", steps).initial_seed()


@dataclass(frozen=True)
class Held:
    """What a tuned sampler brings at one budget, on noise that it was not tuned on.

    Attributes:
        steps: Of the sampler, and evaluations.
        plain, tuned: Shares of valid samples by DDIM without noise, and by the tuned sampler.
        gain: Tuned less plain, from the same noise.
    """

    steps: int
    plain: Rate
    tuned: Rate
    gain: Difference

    def __str__(self) -> str:
        return (
            f"{self.steps} evaluations: valid {self.tuned}; DDIM {self.plain.value or 0:.1%}; "
            f"{self.gain}"
        )


@dataclass(frozen=True, repr=False)
class HeldOut(Table):
    """What it brings at each budget, and the seed that it was judged by."""

    at: tuple[Held, ...]
    seed: int

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each budget."""
        return [
            {
                "steps": each.steps,
                "ddim": each.plain.value,
                "tuned": each.tuned.value,
                "gain": each.gain.value,
                "gain_low": each.gain.low,
                "gain_high": each.gain.high,
            }
            for each in self.at
        ]


def held_out(
    denoiser: Denoiser,
    dataset: SymbolImages,
    sampler: TunedConfig,
    config: SamplingConfig,
    steps: Sequence[int] | None = None,
    progress: Progress = silent,
) -> HeldOut:
    """Compare a tuned sampler with plain DDIM on the noise of the configuration's seed.

    Args:
        denoiser, dataset: As they were tuned to.
        sampler: The tuned one.
        config: How many samples, seed and batch size.
        steps: Where to compare; at the sampler's own budgets by default.
        progress: Called as tqdm is.
    """
    found = []
    for number in progress(steps or sampler.budgets, desc="judge", unit="budget"):
        settings = replace(config.plain, steps=number)
        _, tuned = valid_samples(denoiser, sampler, settings, dataset)
        _, plain = valid_samples(denoiser, DDIMConfig(), settings, dataset)
        before, after = (wilson(int(each.sum()), len(each)) for each in (plain, tuned))
        found.append(Held(number, before, after, paired_difference(tuned, plain)))
    return HeldOut(tuple(found), config.seed)


def sampler_toml(sampler: TunedConfig, about: Mapping[str, Any]) -> str:
    """Return the file of a tuned sampler, with what it was tuned to in a comment.

    >>> print(sampler_toml(TunedConfig((2, 4), *[(0.5, 1.0)] * 4), {"run": "runs/x"}))
    # run: runs/x
    <BLANKLINE>
    [sampler]
    name = "tuned"
    budgets = [2, 4]
    clean = [0.5, 1.0]
    noisy = [0.5, 1.0]
    first_eta = [0.5, 1.0]
    last_eta = [0.5, 1.0]
    <BLANKLINE>
    """
    comments = [f"# {name}: {' '.join(str(value).split())}" for name, value in about.items()]
    settings = [f"{name} = {list(values)}" for name, values in vars(sampler).items()]
    return "\n".join([*comments, "", "[sampler]", f'name = "{sampler.name}"', *settings, ""])
