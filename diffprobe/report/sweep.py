"""A sweep over samplers: grammatical rate against the number of function evaluations.

Few steps, or much noise along the way, change which errors a sampler makes. The Bayes optimum,
driven through the same sampler, tells what the sampler alone costs: where its samples break the
grammar too, the network is not to blame.

Each rate has the interval of its own samples, which are independent of each other. Rows are not:
all start from the same noise, as do the network and the optimum, so that two of them differ by less
chance than their intervals say. None tells of another training seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, SERIES, figure
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.statistics import Rate
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.report.comparison import rate_cell
from diffprobe.sampling import has_eta, sample
from diffprobe.verdicts import judge

Outcome = Literal["grammatical", "legible"]


@dataclass(frozen=True)
class Row:
    """One way to sample.

    Attributes:
        sampler: As it was asked for.
        eta: None for samplers that have none.
        nfe: Function evaluations for one image, counted.
        steps: Of the sampler.
        legible: Share of samples in which every cell can be read.
        grammatical: Share of valid words among these.
        bayes_legible, bayes_grammatical: The same of the Bayes optimum; None where it was left out.
    """

    sampler: str
    eta: float | None
    nfe: int
    steps: int
    legible: Rate
    grammatical: Rate
    bayes_legible: Rate | None
    bayes_grammatical: Rate | None

    @property
    def name(self) -> str:
        """The sampler and its eta."""
        return self.sampler if self.eta is None else f"{self.sampler}, eta {self.eta:g}"


@dataclass(frozen=True)
class Sweep:
    """Rates over ways to sample.

    Attributes:
        rows: One for each, in the order asked for.
        chance: Grammatical rate of independent symbols.
        seed: Of the noise, the same in every row.
    """

    rows: tuple[Row, ...]
    chance: float
    seed: int

    def summary(self) -> dict[str, Any]:
        """Return the table, as JSON can hold it."""
        return {"seed": self.seed, "chance": self.chance, "rows": [vars(row) for row in self.rows]}

    def lines(self) -> list[str]:
        """Return a line for each row."""
        return [
            f"{row.name}, {row.nfe} evaluations: grammatical {row.grammatical}"
            + (f"; Bayes optimum {row.bayes_grammatical}" if row.bayes_grammatical else "")
            + f"; chance {self.chance:.1%}; legible {row.legible}"
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Return the table to paste."""
        head = ["sampler", "evaluations", "legible", "grammatical", "Bayes optimum", "chance"]
        rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in self.rows:
            bayes = rate_cell(row.bayes_grammatical) if row.bayes_grammatical else "left out"
            cells = [
                row.name,
                str(row.nfe),
                rate_cell(row.legible),
                rate_cell(row.grammatical),
                bayes,
                f"{self.chance:.1%}",
            ]
            rows.append("| " + " | ".join(cells) + " |")
        return "\n".join(rows) + "\n"


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
) -> Sweep:
    """Sample in every way asked for, and judge.

    Args:
        denoiser: A network or an oracle.
        dataset: Whose grammar judges.
        samplers: Names as `sampling.SAMPLERS` or diffusers has them.
        nfe: Steps of each sampler; a sampler of higher order evaluates more often than it steps,
            and what is counted is reported.
        etas: For samplers that have one; the others are run once.
        config: How many samples, seed and batch size; its sampler, steps and eta are not used.
        progress: Called as tqdm is.
        bayes: Whether to sample from the Bayes optimum too.

    Raises:
        UsageError: If nothing is asked for, a sampler is unknown, or a number is out of range.
    """
    config = config or SamplingConfig()
    for what, asked in (("sampler", samplers), ("number of evaluations", nfe), ("eta", etas)):
        if not asked:
            raise UsageError(f"a sweep needs at least one {what}")
    ways = [
        (sampler, eta, steps)
        for sampler in dict.fromkeys(samplers)
        for eta in (dict.fromkeys(etas) if has_eta(sampler, denoiser.scheduler) else [None])
        for steps in dict.fromkeys(nfe)
    ]
    optimum = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device) if bayes else None
    rows, chance = [], 0.0
    for sampler, eta, steps in progress(ways, desc="sweep", unit="setting"):
        settings = replace(config, sampler=sampler, steps=steps, eta=eta or 0.0)
        drawn = sample(denoiser, dataset.image_shape, settings)
        verdicts = judge(dataset, drawn.images)
        chance = verdicts.product_rate
        best = None
        if optimum is not None:
            best = judge(dataset, sample(optimum, dataset.image_shape, settings).images)
        rows.append(
            Row(
                sampler=sampler,
                eta=eta,
                nfe=len(drawn.sampler["timesteps"]),
                steps=steps,
                legible=verdicts.legible_rate,
                grammatical=verdicts.grammatical_rate,
                bayes_legible=best.legible_rate if best else None,
                bayes_grammatical=best.grammatical_rate if best else None,
            )
        )
    return Sweep(tuple(rows), chance, config.seed)


def draw(result: Sweep, path: Path) -> None:
    """Store grammatical and legible rates against function evaluations, as `path`.png and .svg."""
    with figure(path, 7.5, 3.0) as canvas:
        left, right = canvas.subplots(1, 2, sharey=True)
        plot(result, left, "grammatical")
        plot(result, right, "legible").set_ylabel("")
        handles, labels = left.get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside right center")


def plot(result: Sweep, ax: Axes, rate: Outcome = "grammatical") -> Axes:
    """Draw a rate against the number of function evaluations, a line for each sampler and eta.

    Bars are 95 % intervals; the Bayes optimum is drawn in black, its samplers by their markers.
    """
    names = list(dict.fromkeys(row.name for row in result.rows))
    for index, name in enumerate(names):
        rows = sorted((r for r in result.rows if r.name == name), key=lambda r: r.nfe)
        aside = 1.04 ** (index - (len(names) - 1) / 2)  # bars on top of each other hide each other
        marker = "osD^vP*X"[index % 8]
        optimum = [(aside * r.nfe, found) for r in rows if (found := getattr(r, f"bayes_{rate}"))]
        _curve(ax, optimum, COLORS["bayes"], marker, "Bayes optimum" if index == 0 else None, 0.7)
        found = [(aside * r.nfe, getattr(r, rate)) for r in rows]
        _curve(ax, found, SERIES[index % len(SERIES)], marker, name, 1.5)
    if rate == "grammatical":
        ax.axhline(result.chance, color="0.6", linewidth=1, linestyle=":", label="chance")
    counts = sorted({row.nfe for row in result.rows})
    ax.set(
        xscale="log",
        xlabel="function evaluations",
        ylabel="rate, 95 % interval",
        title="grammatical, of the legible" if rate == "grammatical" else "legible, of all",
        ylim=(-0.03, 1.03),
    )
    ax.set_xticks(counts, [str(c) for c in counts])
    ax.minorticks_off()
    return ax


def _curve(
    ax: Axes,
    points: Sequence[tuple[float, Rate]],
    color: str,
    marker: str,
    label: str | None,
    width: float,
) -> None:
    known = [(x, rate.value, rate) for x, rate in points if rate.value is not None]
    if not known:
        return
    below = [max(0.0, value - rate.low) for _, value, rate in known]
    above = [max(0.0, rate.high - value) for _, value, rate in known]
    ax.errorbar(
        [x for x, _, _ in known],
        [value for _, value, _ in known],
        yerr=[below, above],
        color=color,
        marker=marker,
        markersize=4,
        linewidth=width,
        capsize=2,
        label=label,
    )
