"""A sweep over samplers: grammatical rate against the number of function evaluations.

Few steps, or much noise along the way, change which errors a sampler makes. The Bayes optimum,
driven through the same sampler, tells what the sampler alone costs: where its samples break the
grammar too, the network is not to blame.

Each rate has the interval of its own samples, which are independent of each other. Rows are not:
all start from the same noise, as do the network and the optimum, so that two of them differ by less
chance than their intervals say. None tells of another training seed.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import Conditions
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.statistics import Rate
from diffprobe.foundations.tables import Table
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind


@dataclass(frozen=True)
class Way:
    """One way to sample.

    Attributes:
        sampler: As it was asked for.
        eta: None for samplers that have none.
        nfe: Function evaluations for one image that is kept, counted.
        steps: Of the sampler.
        legible: Share of samples in which every cell can be read.
        grammatical: Share of valid words among these.
        bayes_legible, bayes_grammatical: The same of the Bayes optimum; None where it was left out.
    """

    sampler: str
    eta: float | None
    nfe: float
    steps: int
    legible: Rate
    grammatical: Rate
    bayes_legible: Rate | None
    bayes_grammatical: Rate | None

    @property
    def name(self) -> str:
        """The sampler and its eta."""
        return self.sampler if self.eta is None else f"{self.sampler}, eta {self.eta:g}"


@dataclass(frozen=True, repr=False)
class Sweep(Table):
    """Rates over ways to sample.

    Attributes:
        ways: In the order asked for.
        chance: Grammatical rate of independent symbols.
        seed: Of the noise, the same in all.
    """

    ways: tuple[Way, ...]
    chance: float
    seed: int

    def summary(self) -> dict[str, Any]:
        """Return the table, as JSON can hold it."""
        return {"seed": self.seed, "chance": self.chance, "rows": [vars(way) for way in self.ways]}

    def lines(self) -> list[str]:
        """Return a line for each way to sample."""
        return [
            f"{way.name}, {way.nfe:.4g} evaluations: grammatical {way.grammatical}"
            + (f"; Bayes optimum {way.bayes_grammatical}" if way.bayes_grammatical else "")
            + f"; chance {self.chance:.1%}; legible {way.legible}"
            for way in self.ways
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each way to sample."""
        return [
            {
                "sampler": way.sampler,
                "eta": way.eta,
                "evaluations": way.nfe,
                "steps": way.steps,
                **_columns("legible", way.legible),
                **_columns("grammatical", way.grammatical),
                **_columns("bayes_legible", way.bayes_legible),
                **_columns("bayes_grammatical", way.bayes_grammatical),
                "chance": self.chance,
            }
            for way in self.ways
        ]

    def __repr__(self) -> str:
        return f"<Sweep over {len(self.ways)} ways to sample>"


def run(
    denoiser: Denoiser,
    dataset: SymbolImages,
    samplers: Sequence[str] = ("ddim", "ddpm", "dpm-solver++"),
    nfe: Sequence[int] = (5, 10, 20, 50),
    etas: Sequence[float] = (0.0,),
    config: SamplingConfig | None = None,
    progress: Progress = silent,
    *,
    bayes: bool = True,
    conditions: Conditions | None = None,
) -> Sweep:
    """Sample in every way asked for, and judge.

    Args:
        denoiser: A network or an oracle.
        dataset: Whose grammar judges.
        samplers: Names of sampler kinds, diffusers' scheduler classes among them.
        nfe: Steps of each sampler; a sampler of higher order evaluates more often than it steps,
            and what is counted is reported.
        etas: For samplers that have one; the others are run once.
        config: How many samples, seed and batch size; its steps are not used.
        progress: Called as tqdm is.
        bayes: Whether to sample from the Bayes optimum too.
        conditions: What can be told of the dataset's words, where something is.

    Raises:
        UsageError: If nothing is asked for, a sampler is unknown, or a number is out of range.
    """
    config = config or SamplingConfig()
    for what, asked in (("sampler", samplers), ("number of evaluations", nfe), ("eta", etas)):
        if not asked:
            raise UsageError(f"a sweep needs at least one {what}")
    asked_for = [
        (sampler, steps)
        for name in dict.fromkeys(samplers)
        for sampler in with_etas(name, etas)
        for steps in dict.fromkeys(nfe)
    ]
    optimum = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device) if bayes else None
    ways, chance = [], 0.0
    for sampler, steps in progress(asked_for, desc="sweep", unit="setting"):
        settings = replace(config, steps=steps)
        shape = dataset.image_shape
        world: dict[str, Any] = {"dataset": dataset, "conditions": conditions}
        drawn = sample(denoiser, shape, sampler, settings, silent, **world)
        verdicts = judge(dataset, drawn)
        chance = verdicts.product_rate
        best = None
        if optimum is not None:
            alike = replace(settings.plain, given=settings.given, condition=settings.condition)
            best = judge(dataset, sample(optimum, shape, sampler, alike, silent, **world))
        ways.append(
            Way(
                sampler=sampler.name,
                eta=getattr(sampler, "eta", None),
                nfe=drawn.price["evaluations"],
                steps=steps,
                legible=verdicts.legible_rate,
                grammatical=verdicts.grammatical_rate,
                bayes_legible=best.legible_rate if best else None,
                bayes_grammatical=best.grammatical_rate if best else None,
            )
        )
    return Sweep(tuple(ways), chance, config.seed)


def _columns(name: str, rate: Rate | None) -> dict[str, Any]:
    """A rate in columns of a table; nothing where it was left out."""
    if rate is None:
        return {}
    return {
        name: rate.value,
        f"{name}_low": rate.low,
        f"{name}_high": rate.high,
        f"{name}_n": rate.n,
    }


def with_etas(name: str, etas: Sequence[float]) -> list[SamplerKind]:
    """Return the sampler of that name at each eta; once where it has none."""
    kind = kinds.find("sampler", name)
    fields = {field.name for field in dataclasses.fields(cast(Any, kind))}
    settings: list[dict[str, Any]] = [{"eta": eta} for eta in dict.fromkeys(etas)]
    found = [kind(**each) for each in (settings if "eta" in fields else [{}])]
    return cast(list[SamplerKind], found)
