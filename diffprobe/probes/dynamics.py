"""Along training: LDR, gamma, mu and what is missed where the grammar lives, rates of samples."""

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
from diffprobe.figures import COLORS, figure
from diffprobe.models.checkpoint import Checkpoint, list_checkpoints, load_denoiser
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, training_oracle
from diffprobe.probes import locality, placement
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, interval
from diffprobe.sampling import sample
from diffprobe.statistics import Rate
from diffprobe.verdicts import judge

SETTINGS = (*locality.SETTINGS, *placement.SETTINGS, "dynamics_samples", "sampling")

Estimate = tuple[float, float]  # a value and its standard error


@dataclass(frozen=True)
class Moment:
    """Measurements at one checkpoint.

    Attributes:
        step: Training step.
        ldr: Local dependency ratio at the level of the dynamics.
        gamma: Share of the grammar used, averaged over noise levels by weight.
        mu: Share of the training set recalled, likewise; None without a finite training set.
        unexplained: Share of what the network is beside the product oracle that neither explains.
        missed_nats: What the network misses at the levels of the grammar, in nats.
        missed_along_nats: Its part along the axis from product to Bayes.
        legible: Share of legible samples.
        grammatical: Share of valid words among them.
    """

    step: int
    ldr: Estimate
    gamma: Estimate
    mu: Estimate | None
    unexplained: Estimate
    missed_nats: Estimate
    missed_along_nats: Estimate
    legible: Rate
    grammatical: Rate


@dataclass(frozen=True)
class Dynamics:
    """Measurements at each checkpoint.

    Attributes:
        moments: One a checkpoint, in order of step.
        t: The noise level of the LDR.
        log_snr: The same as log(alpha²/sigma²).
        grammar_nats: What the grammar is worth over the noise levels that carry nine tenths of its
            weight, those of gamma, mu and the missed nats.
        product_rate: Chance line of the grammatical rate.
        bayes_ldr: LDR of the Bayes oracle on the same inputs.
        settings: Of the LDR and of the sampler.
    """

    moments: list[Moment]
    t: int
    log_snr: float
    grammar_nats: Estimate
    product_rate: float
    bayes_ldr: float
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return the measurements of each checkpoint."""
        return [
            {
                "step": m.step,
                "ldr": estimate(*m.ldr),
                "gamma": estimate(*m.gamma),
                "mu": estimate(*m.mu) if m.mu else None,
                "unexplained": estimate(*m.unexplained),
                "missed_nats": estimate(*m.missed_nats),
                "missed_along_nats": estimate(*m.missed_along_nats),
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
            `sampling` which sampler, and `data` which training set.
        t: Noise level of the LDR.
        device: Where to work.
        keep: Stores the moments, or finds them stored.
        progress: Called as tqdm is.
    """
    checkpoints = list_checkpoints(run)
    last = load_denoiser(checkpoints[-1].path, config.sampling.weights, device)
    bayes = BayesDenoiser(dataset, last.scheduler).to(last.device)
    levels, worth = _levels_of_the_grammar(bayes, dataset, config.probe)
    optimum = locality.measure(bayes, dataset, config.probe, levels=torch.tensor([t]))
    moments = []
    for checkpoint in progress(checkpoints, desc="dynamics", unit="checkpoint"):
        compute = partial(_measure_moment, checkpoint, dataset, config, t, levels, device)
        name = checkpoint.path.name
        moments.append(keep(name, Moment, compute) if keep else compute())
    return Dynamics(
        moments=moments,
        t=t,
        log_snr=optimum.log_snr.item(),
        grammar_nats=worth,
        product_rate=dataset.grammar.product_rate(),
        bayes_ldr=optimum.ldr.item(),
        settings={
            **optimum.settings,
            "sampler": config.sampling.sampler,
            "sampler_steps": config.sampling.steps,
            "samples": config.probe.dynamics_samples,
            "weights": config.sampling.weights,
        },
    )


def _measure_moment(
    checkpoint: Checkpoint,
    dataset: SymbolImages,
    config: Config,
    t: int,
    levels: Tensor,
    device: torch.device | str,
) -> Moment:
    sampling = replace(config.sampling, n=config.probe.dynamics_samples)
    denoiser = load_denoiser(checkpoint.path, sampling.weights, device)
    empirical = training_oracle(dataset, denoiser.scheduler, config.data)
    ratio = locality.measure(denoiser, dataset, config.probe, levels=torch.tensor([t]))
    place = placement.measure(denoiser, dataset, config.probe, empirical=empirical, levels=levels)
    verdicts = judge(dataset, sample(denoiser, dataset.image_shape, sampling).images)
    return Moment(
        step=checkpoint.step or 0,
        ldr=(ratio.ldr.item(), ratio.ldr_error.item()),
        gamma=place.mean_gamma,
        mu=place.mean_mu,
        unexplained=place.mean_unexplained,
        missed_nats=place.missed_nats,
        missed_along_nats=place.missed_along_nats,
        legible=verdicts.legible_rate,
        grammatical=verdicts.grammatical_rate,
    )


def _levels_of_the_grammar(
    bayes: Denoiser, dataset: SymbolImages, config: ProbeConfig
) -> tuple[Tensor, Estimate]:
    """Return the noise levels that carry nine tenths of the grammar's weight, and their nats.

    A range without holes, and one level more at each end: there must be something to integrate.
    """
    result = placement.measure(bayes, dataset, config)
    order = result.weight.argsort(descending=True)
    cumulative = result.weight[order].cumsum(0) / result.weight.sum()
    kept = order[: int((cumulative < 0.9).sum()) + 1]
    levels = result.t[max(0, int(kept.min()) - 1) : int(kept.max()) + 2]
    return levels, placement.measure(bayes, dataset, config, levels=levels).grammar_nats


def plot(result: Dynamics, ax: Axes, color: str = COLORS["network"]) -> Axes:
    """Draw LDR, gamma, mu, legible rate and grammatical rate against training step."""
    steps = [m.step for m in result.moments]

    def draw(name: str, label: str, color: str, marker: str) -> None:
        points = [
            (s, e) for s, m in zip(steps, result.moments, strict=True) if (e := getattr(m, name))
        ]
        if points:
            ax.errorbar(
                [s for s, _ in points],
                [value for _, (value, _) in points],
                yerr=[1.96 * error for _, (_, error) in points],
                marker=marker,
                markersize=3,
                capsize=2,
                color=color,
                label=label,
            )

    draw("ldr", f"LDR at log-SNR {result.log_snr:.1f}", color, "o")
    draw("gamma", "gamma, share of the grammar used", COLORS["bayes"], "^")
    draw("mu", "mu, share of the training set recalled", COLORS["empirical"], "v")
    for label, name, rate_color in (
        ("legible", "legible", COLORS["illegible"]),
        ("grammatical, of the legible", "grammatical", COLORS["grammatical"]),
    ):
        rates = [(s, getattr(m, name)) for s, m in zip(steps, result.moments, strict=True)]
        known = [(s, r) for s, r in rates if r.value is not None]
        ax.errorbar(
            [s for s, _ in known],
            [r.value for _, r in known],
            yerr=[
                [max(0.0, r.value - r.low) for _, r in known],
                [max(0.0, r.high - r.value) for _, r in known],
            ],
            marker="s",
            markersize=3,
            capsize=2,
            color=rate_color,
            label=label,
        )
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
    missed = [m.missed_along_nats for m in result.moments]
    ax.errorbar(
        [m.step for m in result.moments],
        [value for value, _ in missed],
        yerr=[1.96 * error for _, error in missed],
        marker="o",
        markersize=3,
        capsize=2,
        color=color,
        label="missed of the grammar",
    )
    ax.axhline(
        result.grammar_nats[0], color=COLORS["product"], lw=1, ls="--", label="what it is worth"
    )
    ax.set(xscale="log", xlabel="training step", ylabel="nats", ylim=(0, None))
    return ax


def draw(result: Dynamics, folder: Path, architecture: str) -> None:
    """Shares above, nats below, on one axis of steps."""
    with figure(folder / "dynamics", 6.5, 4.8) as canvas:
        above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[5, 2])
        plot(result, above, COLORS[architecture]).set_xlabel("")
        plot_missed(result, below, COLORS[architecture])
        for ax in (above, below):
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def lines(result: Dynamics) -> list[str]:
    """Return a table with a line for each checkpoint."""
    found = [
        f"{'step':>8}  {'LDR':15}  {'gamma':15}  {'mu':15}  {'missed (nats)':15}  "
        f"{'unexplained':15}  legible  grammatical"
    ]
    for row in result.rows():
        mu = interval(row["mu"]) if row["mu"] else "-"
        legible, grammatical = row["legible"], row["grammatical"]
        share = "-" if grammatical.value is None else f"{grammatical.value:.1%}"
        found.append(
            f"{row['step']:>8,}  {interval(row['ldr']):15}  {interval(row['gamma']):15}  "
            f"{mu:15}  {interval(row['missed_along_nats']):15}  {interval(row['unexplained']):15}  "
            f"{legible.value:7.1%}  {share} ({grammatical.low:.1%} to {grammatical.high:.1%})"
        )
    return found
