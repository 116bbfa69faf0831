"""Along training: the LDR and gamma where the grammar lives, and the rates of samples."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import Config, ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.figures import COLORS
from diffprobe.models.checkpoint import list_checkpoints, load_denoiser
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, training_oracle
from diffprobe.probes import locality, placement
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate
from diffprobe.sampling import sample
from diffprobe.statistics import Rate
from diffprobe.verdicts import judge


@dataclass(frozen=True)
class Dynamics:
    """Measurements at each checkpoint.

    Attributes:
        steps: Training steps.
        t: The noise level of the LDR.
        log_snr: The same as log(alpha²/sigma²).
        ldr: Local dependency ratio per checkpoint.
        ldr_error: Standard errors.
        gamma: Share of the grammar used, averaged over noise levels by weight.
        gamma_error: Standard errors.
        mu: Share of the training set recalled, likewise; None without a finite training set.
        mu_error: Standard errors.
        legible: Share of legible samples.
        grammatical: Share of valid words among them.
        product_rate: Chance line of the grammatical rate.
        settings: Of the LDR and of the sampler.
    """

    steps: list[int]
    t: int
    log_snr: float
    ldr: list[float]
    ldr_error: list[float]
    gamma: list[float]
    gamma_error: list[float]
    mu: list[float] | None
    mu_error: list[float] | None
    legible: list[Rate]
    grammatical: list[Rate]
    product_rate: float
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return the measurements of each checkpoint."""
        return [
            {
                "step": step,
                "ldr": estimate(self.ldr[i], self.ldr_error[i]),
                "gamma": estimate(self.gamma[i], self.gamma_error[i]),
                "mu": estimate(self.mu[i], self.mu_error[i])
                if self.mu is not None and self.mu_error is not None
                else None,
                "legible": self.legible[i],
                "grammatical": self.grammatical[i],
            }
            for i, step in enumerate(self.steps)
        ]


def measure(
    run: Path,
    dataset: SymbolImages,
    config: Config,
    *,
    t: int,
    device: torch.device | str = "cpu",
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
        progress: Called as tqdm is.
    """
    sampling = replace(config.sampling, n=config.probe.dynamics_samples)
    steps, ratios, places, verdicts = [], [], [], []
    levels = None
    for checkpoint in progress(list_checkpoints(run), desc="dynamics", unit="checkpoint"):
        denoiser = load_denoiser(checkpoint.path, sampling.weights, device)
        empirical = training_oracle(dataset, denoiser.scheduler, config.data)
        if levels is None:
            levels = _levels_of_the_grammar(denoiser, dataset, config.probe)
        steps.append(checkpoint.step or 0)
        ratios.append(locality.measure(denoiser, dataset, config.probe, levels=torch.tensor([t])))
        places.append(
            placement.measure(denoiser, dataset, config.probe, empirical=empirical, levels=levels)
        )
        verdicts.append(judge(dataset, sample(denoiser, dataset.image_shape, sampling).images))
    mus = [p.mean_mu for p in places]
    return Dynamics(
        steps=steps,
        t=t,
        log_snr=ratios[0].log_snr.item(),
        ldr=[r.ldr.item() for r in ratios],
        ldr_error=[r.ldr_error.item() for r in ratios],
        gamma=[p.mean_gamma[0] for p in places],
        gamma_error=[p.mean_gamma[1] for p in places],
        mu=[m[0] for m in mus if m] or None,
        mu_error=[m[1] for m in mus if m] or None,
        legible=[v.legible_rate for v in verdicts],
        grammatical=[v.grammatical_rate for v in verdicts],
        product_rate=dataset.grammar.product_rate(),
        settings={
            **ratios[0].settings,
            "sampler": sampling.sampler,
            "sampler_steps": sampling.steps,
            "samples": sampling.n,
            "weights": sampling.weights,
        },
    )


def _levels_of_the_grammar(
    denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig
) -> Tensor:
    """The noise levels that carry nine tenths of the grammar's weight."""
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    result = placement.measure(bayes, dataset, config)
    order = result.weight.argsort(descending=True)
    cumulative = result.weight[order].cumsum(0) / result.weight.sum()
    kept = order[: int((cumulative < 0.9).sum()) + 1]
    return result.t[kept.sort().values]


def plot(result: Dynamics, ax: Axes) -> Axes:
    """Draw LDR, legible rate and grammatical rate against training step on shared axes."""
    ax.errorbar(
        result.steps,
        result.ldr,
        yerr=[1.96 * e for e in result.ldr_error],
        marker="o",
        markersize=3,
        capsize=2,
        color=COLORS["network"],
        label=f"LDR at log-SNR {result.log_snr:.1f}",
    )
    ax.errorbar(
        result.steps,
        result.gamma,
        yerr=[1.96 * e for e in result.gamma_error],
        marker="^",
        markersize=3,
        capsize=2,
        color=COLORS["bayes"],
        label="gamma, share of the grammar used",
    )
    if result.mu is not None and result.mu_error is not None:
        ax.errorbar(
            result.steps,
            result.mu,
            yerr=[1.96 * e for e in result.mu_error],
            marker="v",
            markersize=3,
            capsize=2,
            color=COLORS["empirical"],
            label="mu, share of the training set recalled",
        )
    for label, rates, color in (
        ("legible", result.legible, COLORS["illegible"]),
        ("grammatical, of the legible", result.grammatical, COLORS["grammatical"]),
    ):
        known = [(s, r, r.value) for s, r in zip(result.steps, rates, strict=True)]
        points = [(s, r, v) for s, r, v in known if v is not None]
        below = [max(0.0, v - r.low) for _, r, v in points]
        above = [max(0.0, r.high - v) for _, r, v in points]
        ax.errorbar(
            [s for s, _, _ in points],
            [v for _, _, v in points],
            yerr=[below, above],
            marker="s",
            markersize=3,
            capsize=2,
            color=color,
            label=label,
        )
    ax.axhline(
        result.product_rate, color=COLORS["grammatical"], linestyle=":", linewidth=1, label="chance"
    )
    ax.set(xscale="log", xlabel="training step", ylabel="share", ylim=(-0.08, 1.05))
    return ax
