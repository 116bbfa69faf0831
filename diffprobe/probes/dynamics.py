"""Along training: the LDR where symbols form, and the legible and grammatical rates of samples."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.models.checkpoint import list_checkpoints, load_denoiser
from diffprobe.probes import locality
from diffprobe.progress import Progress, silent
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
    legible: list[Rate]
    grammatical: list[Rate]
    product_rate: float
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as nested lists."""
        return {
            **self.__dict__,
            "legible": [r.to_json() for r in self.legible],
            "grammatical": [r.to_json() for r in self.grammatical],
        }


def measure(
    run: Path,
    dataset: SymbolImages,
    config: ProbeConfig,
    sampling: SamplingConfig,
    *,
    t: int,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Dynamics:
    """Probe every checkpoint of a run at noise level `t`, and sample from it.

    Args:
        run: A run folder.
        dataset: The run's.
        config: `images`, `projections`, `variant`; `dynamics_samples` images per checkpoint.
        sampling: Sampler and steps.
        t: Noise level of the LDR.
        device: Where to work.
        progress: Called as tqdm is.
    """
    sampling = replace(sampling, n=config.dynamics_samples)
    steps, ratios, verdicts = [], [], []
    for checkpoint in progress(list_checkpoints(run), desc="dynamics", unit="checkpoint"):
        denoiser = load_denoiser(checkpoint.path, sampling.weights, device)
        result = locality.measure(denoiser, dataset, config, levels=torch.tensor([t]))
        images = sample(denoiser, dataset.image_shape, sampling).images
        steps.append(checkpoint.step or 0)
        ratios.append((result.ldr.item(), result.ldr_error.item()))
        verdicts.append(judge(dataset, images))
    return Dynamics(
        steps=steps,
        t=t,
        log_snr=denoiser.log_snr(torch.tensor([t])).item(),
        ldr=[r[0] for r in ratios],
        ldr_error=[r[1] for r in ratios],
        legible=[v.legible_rate for v in verdicts],
        grammatical=[v.grammatical_rate for v in verdicts],
        product_rate=dataset.grammar.product_rate(),
        settings={
            **result.settings,
            "sampler": sampling.sampler,
            "sampler_steps": sampling.steps,
            "samples": sampling.n,
            "weights": sampling.weights,
        },
    )


def plot(result: Dynamics, ax: Axes) -> Axes:
    """Draw LDR, legible rate and grammatical rate against training step on shared axes."""
    ax.errorbar(
        result.steps,
        result.ldr,
        yerr=[1.96 * e for e in result.ldr_error],
        marker="o",
        markersize=3,
        capsize=2,
        color="C0",
        label=f"LDR at log-SNR {result.log_snr:.1f}",
    )
    for label, rates, color in (
        ("legible", result.legible, "C2"),
        ("grammatical, of the legible", result.grammatical, "C3"),
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
    ax.axhline(result.product_rate, color="C3", linestyle=":", linewidth=1, label="chance")
    ax.set(xscale="log", xlabel="training step", ylabel="share", ylim=(-0.03, 1.05))
    return ax
