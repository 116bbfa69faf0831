"""Along training: LDR, what places the network among the oracles, and rates of samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.settings import to_settings
from diffprobe.foundations.statistics import Rate
from diffprobe.models.checkpoint import Checkpoint, list_checkpoints, load_denoiser
from diffprobe.models.oracles import BayesDenoiser
from diffprobe.probes import locality, placement
from diffprobe.probes.locality import Locality
from diffprobe.probes.noise_levels import spread_levels
from diffprobe.sampling import sample

SETTINGS = (*locality.SETTINGS, *placement.SETTINGS, "dynamics_samples", "sampling")


@dataclass(frozen=True)
class Moment:
    """Measurements at one checkpoint.

    Attributes:
        step: Training step.
        ldr: Local dependency ratio at the level of the dynamics.
        gamma: Share of the grammar used, averaged over noise levels by weight.
        scale: Size of the output beside the product oracle's, likewise.
        mu: Share of the training set recalled, above placebo sets, likewise; None without a finite
            training set.
        unexplained: Share of what the network is beside the product oracle that gamma and the scale
            leave.
        missed_along_nats: What the network misses of the grammar, in nats.
        missed_nats: What it misses with all other errors at the levels of the grammar; a path
            bound, see `placement`.
        to_product_nats: How far it is from the product oracle at these levels.
        legible: Share of legible samples.
        grammatical: Share of valid words among them.
    """

    step: int
    ldr: Interval
    gamma: Interval
    scale: Interval
    mu: Interval | None
    unexplained: Interval
    missed_along_nats: Interval
    missed_nats: Interval
    to_product_nats: Interval
    legible: Rate
    grammatical: Rate


@dataclass(frozen=True)
class Dynamics:
    """Measurements at each checkpoint.

    Attributes:
        moments: One a checkpoint, in order of step.
        t: The noise level of the LDR.
        log_snr: The same as log(alpha²/sigma²).
        levels: (T,) long, those of the placement: they carry nine tenths of the grammar's weight.
        total_correlation: What the grammar is worth, in nats.
        product_rate: Chance line of the grammatical rate.
        bayes_ldr: LDR of the Bayes oracle on the same inputs.
        settings: Of the LDR and of the sampler.
    """

    moments: list[Moment]
    t: int
    log_snr: float
    levels: Tensor
    total_correlation: float
    product_rate: float
    bayes_ldr: float
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return the measurements of each checkpoint."""
        return [
            {
                "step": m.step,
                "ldr": estimate(m.ldr),
                "gamma": estimate(m.gamma),
                "scale": estimate(m.scale),
                "mu": estimate(m.mu) if m.mu else None,
                "unexplained": estimate(m.unexplained),
                "missed_nats": estimate(m.missed_nats),
                "missed_along_nats": estimate(m.missed_along_nats),
                "to_product_nats": estimate(m.to_product_nats),
                "legible": m.legible,
                "grammatical": m.grammatical,
            }
            for m in self.moments
        ]


def measure(
    run: Path,
    dataset: SymbolImages,
    config: Config,
    *,
    t: int,
    device: torch.device | str = "cpu",
    keep: Callable[[str, type[Moment], Callable[[], Moment]], Moment] | None = None,
    progress: Progress = silent,
) -> Dynamics:
    """Probe every checkpoint of a run at noise level `t`, and sample from it.

    Args:
        run: A run folder.
        dataset: The run's.
        config: `probe` says how much to measure (`dynamics_samples` images a checkpoint),
            `sampling` which sampler, and `stream` which training set.
        t: Noise level of the LDR.
        device: Where to work.
        keep: Stores the moments, or finds them stored.
        progress: Called as tqdm is.
    """
    checkpoints = list_checkpoints(run)
    last = load_denoiser(checkpoints[-1].path, config.weights, device)
    bayes = BayesDenoiser(dataset, last.scheduler).to(last.device)
    levels = _levels_of_the_grammar(bayes, dataset, config.probe)
    optimum = locality.measure(bayes, dataset, config.probe, levels=torch.tensor([t]))
    moments = []
    for checkpoint in progress(checkpoints, desc="dynamics", unit="checkpoint"):
        compute = partial(_measure_moment, checkpoint, dataset, config, optimum, levels, device)
        name = checkpoint.path.name
        moments.append(keep(name, Moment, compute) if keep else compute())
    return Dynamics(
        moments=moments,
        t=t,
        log_snr=optimum.log_snr.item(),
        levels=levels,
        total_correlation=dataset.grammar.total_correlation(),
        product_rate=dataset.grammar.product_rate(),
        bayes_ldr=optimum.ldr.value.item(),
        settings={
            **optimum.settings,
            "sampler": to_settings(config.sampler),
            "sampler_steps": config.sampling.steps,
            "samples": config.probe.dynamics_samples,
            "weights": config.sampling.weights,
        },
    )


def _measure_moment(
    checkpoint: Checkpoint,
    dataset: SymbolImages,
    config: Config,
    optimum: Locality,
    levels: Tensor,
    device: torch.device | str,
) -> Moment:
    sampling = replace(config.sampling, n=config.probe.dynamics_samples)
    denoiser = load_denoiser(checkpoint.path, config.weights, device)
    ratio = locality.measure(
        denoiser, dataset, config.probe, levels=optimum.t, inputs=optimum.inputs
    )
    place = placement.measure(
        denoiser, dataset, config.probe, stream=config.stream.build(dataset.grammar), levels=levels
    )
    samples = sample(denoiser, dataset.image_shape, config.sampler, sampling)
    verdicts = judge(dataset, samples.images)
    return Moment(
        step=checkpoint.step or 0,
        ldr=ratio.among(optimum.ratios.isfinite()).ldr[0],
        gamma=place.mean_gamma,
        scale=place.mean_scale,
        mu=place.mean_mu,
        unexplained=place.mean_unexplained,
        missed_along_nats=place.missed_along_nats,
        missed_nats=place.missed_nats,
        to_product_nats=place.to_product_nats,
        legible=verdicts.legible_rate,
        grammatical=verdicts.grammatical_rate,
    )


def _levels_of_the_grammar(
    bayes: BayesDenoiser, dataset: SymbolImages, config: ProbeConfig
) -> Tensor:
    """Return the noise levels that carry nine tenths of the grammar's weight.

    A range without holes, and one level more at each end: there must be something to integrate.
    """
    levels = spread_levels(bayes, config.placement_levels)
    weight = placement.grammar_weight(bayes, dataset, config, levels)
    order = weight.argsort(descending=True)
    cumulative = weight[order].cumsum(0) / weight.sum().clamp(min=1e-300)
    kept = order[: int((cumulative < 0.9).sum()) + 1]
    return levels[max(0, int(kept.min()) - 1) : int(kept.max()) + 2]


def plot(result: Dynamics, ax: Axes, color: str = COLORS["network"]) -> Axes:
    """Draw LDR, gamma, mu, legible rate and grammatical rate against training step."""
    for name, label, line_color, marker in (
        ("ldr", f"LDR at log-SNR {result.log_snr:.1f}", color, "o"),
        ("gamma", "gamma, share of the grammar used", COLORS["bayes"], "^"),
        ("mu", "mu, training set above placebos", COLORS["empirical"], "v"),
        ("legible", "legible", COLORS["illegible"], "s"),
        ("grammatical", "grammatical, of the legible", COLORS["grammatical"], "s"),
    ):
        _draw_along(result, ax, name, label=label, color=line_color, marker=marker)
    ax.axhline(
        result.product_rate, color=COLORS["grammatical"], linestyle=":", linewidth=1, label="chance"
    )
    ax.axhline(
        result.bayes_ldr, color=COLORS["bayes"], lw=1, ls="--", label="LDR of the Bayes optimum"
    )
    ax.set(xscale="log", xlabel="training step", ylabel="share", ylim=(-0.08, 1.05))
    return ax


def plot_missed(result: Dynamics, ax: Axes, color: str = COLORS["network"]) -> Axes:
    """Draw the nats of the grammar that are missed against training step."""
    _draw_along(
        result, ax, "missed_along_nats", label="missed of the grammar", color=color, marker="o"
    )
    ax.axhline(
        result.total_correlation, color=COLORS["product"], lw=1, ls="--", label="what it is worth"
    )
    ax.set(xscale="log", xlabel="training step", ylabel="nats", ylim=(0, None))
    return ax


def _draw_along(result: Dynamics, ax: Axes, name: str, **style: Any) -> None:
    """Draw one of the measurements with its intervals, where it is defined."""
    points = []
    for moment in result.moments:
        found = getattr(moment, name)
        value = math.nan if found is None or found.value is None else float(found.value)
        if math.isfinite(value):
            low, high = float(found.low), float(found.high)
            # Without an interval the point stands alone.
            below, above = (
                0.0 if math.isnan(d) else max(0.0, d) for d in (value - low, high - value)
            )
            points.append((moment.step, value, below, above))
    if points:
        steps, values, lows, highs = zip(*points, strict=True)
        ax.errorbar(steps, values, [lows, highs], markersize=3, capsize=2, **style)


def draw(result: Dynamics, folder: Path, architecture: str) -> None:
    """Shares above, nats below, on one axis of steps."""
    with figure(folder / "dynamics", 6.5, 4.8) as canvas:
        above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[5, 2])
        plot(result, above, COLORS[architecture]).set_xlabel("")
        plot_missed(result, below, COLORS[architecture])
        for ax in (above, below):
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def lines(result: Dynamics) -> list[str]:
    """Return a table with a line for each checkpoint; intervals that are not symmetric fit."""
    columns = {
        "ldr": "LDR",
        "gamma": "gamma",
        "mu": "mu above placebos",
        "missed_along_nats": "missed (nats)",
        "to_product_nats": "to product (nats)",
        "unexplained": "unexplained",
    }
    width = len("0.000 (-0.000 to 0.000)")
    names = "  ".join(f"{name:{width}}" for name in columns.values())
    found = [f"{'step':>8}  {names}  legible  grammatical"]
    for row in result.rows():
        told = "  ".join(f"{interval(row[k]) if row[k] else '-':{width}}" for k in columns)
        legible, grammatical = row["legible"], row["grammatical"]
        share = "-" if grammatical.value is None else f"{grammatical.value:.1%}"
        found.append(
            f"{row['step']:>8,}  {told}  {legible.value:7.1%}  "
            f"{share} ({grammatical.low:.1%} to {grammatical.high:.1%})"
        )
    return found
