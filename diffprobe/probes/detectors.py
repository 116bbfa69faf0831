"""Hallucination detectors: which score of a single sample tells that it breaks the grammar?

N samples are drawn, scored along their sampling paths, and judged by the grammar. A detector is as
good as the probability that an invalid sample scores higher than a valid one: its AUROC, among the
legible samples, chance 0.5. The way each score points is settled here, never by the result, and the
p-values of the table are corrected together.

From the denoiser alone:

    trajectory variance      variance of x0_hat over a window of steps, mean over pixels: a sample
                             that the denoiser is not sure of keeps changing towards the end of its
                             path (Aithal et al.), by default in its last fifth
    … of the worst cell      the same, the mean over the pixels of the cell where it is largest
    LDR                      share of ‖J‖² in which a cell depends on itself, at the sample's own
                             x_t: a sample made locally does not know of its other cells

Knowing the symbols, but not the grammar:

    symbol entropy           entropy of p(v | cell) ∝ mean_k exp(−‖cell − g_vk‖² / 2 tau²), the soft
                             reading of x0_hat, ‖·‖² a mean over pixels, tau the radius within which
                             a glyph is legible; mean over cells and over the noisy steps
    re-noising               share of cells read differently after the sample is noised again and
                             denoised in one step, mean over repeats
    distance to product      −½ snr ‖D_net − D_product‖²: near the product oracle is local

Knowing the grammar, for reference, as nobody does outside a world of known rules:

    distance to Bayes        +½ snr ‖D_net − D_Bayes‖²
    odds under the grammar   log P(invalid | x_t) / P(valid | x_t), every cell drawn by itself from
                             the product oracle's posterior

Distances are in nats per unit log-SNR, mean over the steps where the grammar lives: those whose
weight, ½ snr E‖D_product − D_Bayes‖² on noisy valid images, is at least a tenth of the largest.
The LDR, the odds and the re-noising look at one level, by default where that weight is largest, and
the entropy at the steps from noise down to it.

Reference: Aithal et al., "Understanding hallucinations in diffusion models through mode
interpolation", arXiv:2406.09358.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.ranks import Auroc, auroc
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import to_settings
from diffprobe.foundations.statistics import Rate, holm, wilson
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.jacobian import batches, estimated_energies
from diffprobe.probes.noise_levels import check_level, spread_levels
from diffprobe.probes.placement import grammar_weight
from diffprobe.probes.regions import Regions
from diffprobe.probes.sampling_path import SamplingPath
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "detector_samples",
    "detector_window",
    "detector_projections",
    "detector_renoisings",
    "placement_images",
    "placement_levels",
    "batch_size",
    "seed",
    "sampling",
)

# What each detector knows besides the denoiser.
KNOWS = {
    "trajectory variance": "nothing",
    "trajectory variance, worst cell": "nothing",
    "LDR": "nothing",
    "symbol entropy": "symbols",
    "re-noising": "symbols",
    "distance to product": "symbols",
    "distance to Bayes": "grammar",
    "odds under the grammar": "grammar",
}

DEFAULT_WINDOW = ProbeConfig().detector_window

# The grammar lives where its weight is at least this share of the largest.
LIVES = 0.1


@dataclass(frozen=True)
class Detectors:
    """Scores and verdicts of N samples.

    Attributes:
        scores: Detector -> (N,) float64, higher for what is more likely a hallucination.
        auroc: Detector -> how well it tells invalid from valid among the legible samples. The
            intervals and p are of each detector by itself, not of the best of several.
        legible: (N,) bool, every cell can be read.
        grammatical: (N,) bool, legible and valid.
        t: The level of the single-level detectors.
        log_snr: The same as log(alpha²/sigma²).
        settings: Sampler, window, levels where the grammar lives, repeats, seed.
    """

    scores: dict[str, Tensor]
    auroc: dict[str, Auroc]
    legible: Tensor
    grammatical: Tensor
    t: int
    log_snr: float
    settings: dict[str, Any]

    @property
    def corrected(self) -> dict[str, float]:
        """Detector -> p after Holm's correction for how many detectors there are."""
        return dict(zip(self.auroc, holm([a.p for a in self.auroc.values()]), strict=True))

    @property
    def invalid(self) -> Rate:
        """Share of hallucinations among the legible samples."""
        n = int(self.legible.sum())
        return wilson(n - int(self.grammatical.sum()), n)


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    t: int,
    sampler: SamplerKind | None = None,
    sampling: SamplingConfig | None = None,
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Detectors:
    """Sample from a denoiser, score each sample along its path, and judge it by the grammar.

    Memory: three images a sample, whatever the number of steps.

    Args:
        denoiser: A network, or an oracle.
        dataset: Whose grammar judges, and whose glyphs and oracles some detectors know.
        config: `detector_samples` N; `detector_window`, the part of the path, from 0 (noise) to 1
            (image) in timesteps, whose variance is taken; `detector_projections` a cell for the
            LDR; `detector_renoisings`; `batch_size`, `seed`.
        t: The level of the single-level detectors; along the path, the step nearest to it.
        sampler: DDIM by default.
        sampling: Steps, seed and batch size; its `n` is not used.
        regions: Of the LDR; the cells by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a number is out of range, or the sampler takes too few steps in the window or
            where the grammar lives.
    """
    config = config or ProbeConfig()
    _check(config)
    check_level(denoiser, t)
    sampler = sampler or DDIMConfig()
    sampling = replace(sampling or SamplingConfig(), n=config.detector_samples)
    levels = spread_levels(denoiser, config.placement_levels)
    weight = grammar_weight(denoiser, dataset, config, levels)
    living = levels[weight >= LIVES * weight.max()]
    path = SamplingPath(
        dataset,
        BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device),
        ProductDenoiser(dataset, denoiser.scheduler).to(denoiser.device),
        level=t,
        window=config.detector_window,
        living=(int(living.min()), int(living.max())),
    )
    images = sample(denoiser, dataset.image_shape, sampler, sampling, progress, path).images
    path.check()
    visited = path.batches[0].t
    x_t = torch.cat([batch.x_t for batch in path.batches])
    variance = dataset.cells(path.trajectories.variance[0]).mean((2, 3, 4))
    regions = regions or Regions.cells(dataset)
    found = {
        "trajectory variance": variance.mean(1),
        "trajectory variance, worst cell": variance.amax(1),
        "LDR": _local_dependency_ratios(denoiser, x_t, visited, regions, config),
        "symbol entropy": torch.cat([b.entropy.mean for b in path.batches]),
        "re-noising": _changed_by_renoising(denoiser, dataset, images, t, config),
        "distance to product": -torch.cat([b.to_product.mean for b in path.batches]),
        "distance to Bayes": torch.cat([b.to_bayes.mean for b in path.batches]),
        "odds under the grammar": _log_odds_of_invalid(denoiser, dataset, x_t, visited),
    }
    scores = {name: score.double().cpu() for name, score in found.items()}
    verdicts = judge(dataset, images)
    legible, invalid = verdicts.legible, ~verdicts.grammatical
    return Detectors(
        scores=scores,
        auroc={name: auroc(score[legible], invalid[legible]) for name, score in scores.items()},
        legible=legible,
        grammatical=verdicts.grammatical,
        t=visited,
        log_snr=denoiser.log_snr(torch.tensor([visited])).item(),
        settings={
            "samples": config.detector_samples,
            "sampler": to_settings(sampler),
            "steps": sampling.steps,
            "window": config.detector_window,
            "grammar_lives": path.living,
            "projections": config.detector_projections,
            "renoisings": config.detector_renoisings,
            "seed": config.seed,
            "sampling_seed": sampling.seed,
        },
    )


def plot(
    result: Detectors, ax: Axes, control: Detectors | None = None, color: str = COLORS["network"]
) -> Axes:
    """Draw each detector's AUROC with its 95 % interval, coloured by what it knows.

    Args:
        result: Of the network's samples.
        ax: Where to draw.
        control: Of the product oracle's samples, drawn hollow.
        color: Of the detectors that know nothing but the denoiser.
    """
    colors = {"nothing": color, "symbols": COLORS["product"], "grammar": COLORS["bayes"]}
    chance = ax.axvline(0.5, color="0.6", linewidth=1, linestyle=":", label="chance")
    for part, shift in ((result, 0.0), (control, 0.3)):
        for row, (name, area) in enumerate(part.auroc.items() if part else ()):
            hue, y = colors[KNOWS[name]], row + shift
            if area.value is None:
                if part is control:
                    continue  # hardly any of its samples are valid
                ax.text(0.51, y, "undefined", color=hue, va="center", fontsize=7)
                continue
            fill = "white" if part is control else hue
            ax.plot([area.low, area.high], [y, y], color=hue, linewidth=1.5)
            ax.plot(area.value, y, "o", color=hue, markersize=5, markerfacecolor=fill)
    ax.set(
        xlim=(-0.02, 1.02),
        xlabel="AUROC, invalid against valid samples",
        yticks=range(len(result.scores)),
        yticklabels=list(result.scores),
    )
    ax.invert_yaxis()
    handles = [
        Line2D([], [], marker="o", color=colors[key], label=label)
        for key, label in (
            ("nothing", "the denoiser alone"),
            ("symbols", "knows the symbols"),
            ("grammar", "knows the grammar"),
        )
    ]
    if control and any(area.value is not None for area in control.auroc.values()):
        label = "samples of the product oracle"
        handles.append(
            Line2D([], [], marker="o", color="0.4", markerfacecolor="white", label=label)
        )
    ax.legend(handles=[*handles, chance], loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_scores(result: Detectors, name: str, ax: Axes) -> Axes:
    """Draw one detector's cumulative distributions among valid and invalid samples.

    Raises:
        UsageError: If there is no such detector.
    """
    if name not in result.scores:
        raise unknown_name("detector", name, result.scores)
    score = result.scores[name]
    for label, chosen in (
        ("grammatical", result.grammatical),
        ("invalid", result.legible & ~result.grammatical),
    ):
        if chosen.any():
            text = f"{label} ({int(chosen.sum()):,})"
            ax.ecdf(score[chosen].numpy(), color=COLORS[label], label=text)
    ax.set(xlabel=f"{name} (score)", ylabel="share of samples below", ylim=(0, 1))
    return ax


def probe(subject: "Subject", keep: "Keep") -> dict[str, Detectors]:
    """Score the detectors on the network's samples and, as a control, on the product oracle's.

    The Bayes oracle's samples are nearly all valid: there is nothing to detect.

    Raises:
        UsageError: If no grammar is known.
    """
    dataset, config = subject.dataset, subject.config
    if dataset is None:
        raise UsageError("detectors are scored by a grammar's verdicts, and no grammar is known")
    return {
        name: keep(
            name,
            Detectors,
            partial(
                measure,
                denoiser,
                dataset,
                config.probe,
                t=subject.level,
                sampler=config.sampler,
                sampling=config.sampling,
                regions=subject.regions,
                progress=subject.progress,
            ),
        )
        for name, denoiser in subject.beside("product").items()
    }


def draw(results: dict[str, Detectors], subject: "Subject", folder: Path) -> None:
    """Store the forest of AUROCs, and the scores of trajectory variance beside the best detector.

    The best is chosen among those that do not know the grammar.
    """
    network = results["network"]
    with figure(folder / "detectors", 7.5, 3.2) as canvas:
        ax = canvas.subplots()
        plot(network, ax, results.get("product"), COLORS[subject.architecture])
        rate = network.invalid
        ax.set_title(f"{rate.count:,} of {rate.n:,} legible samples break the grammar")
    shown = dict.fromkeys(("trajectory variance", best(network)))
    with figure(folder / "detector-scores", 3.6 * len(shown), 2.8) as canvas:
        for ax, name in zip(canvas.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            plot_scores(network, name, ax)
            value = network.auroc[name].value
            ax.set_title("AUROC undefined" if value is None else f"AUROC {value:.3f}")
            if ax.lines:
                ax.legend()


def best(result: Detectors) -> str:
    """Return the detector of the largest AUROC among those that do not know the grammar."""
    usable = [name for name in result.scores if KNOWS[name] != "grammar"]
    return max(usable, key=lambda name: result.auroc[name].value or 0.0)


def summary(results: dict[str, Detectors]) -> dict[str, Any]:
    """Return the AUROCs, their corrected p, how many samples they rest on, and the window."""
    return {
        name: {
            "samples": len(result.legible),
            "invalid": result.invalid,
            "t": result.t,
            "log_snr": result.log_snr,
            "window": result.settings["window"],
            "window_is_default": tuple(result.settings["window"]) == DEFAULT_WINDOW,
            "auroc": result.auroc,
            "p_corrected": result.corrected,
        }
        for name, result in results.items()
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the network's AUROCs in words."""
    network = content["network"]
    low, high = network["window"]
    chosen = "the default window"
    if not network["window_is_default"]:
        chosen = "not the default: one chosen by looking at these samples flatters itself"
    return [
        f"hallucinations among the legible of {network['samples']:,} samples: {network['invalid']}",
        f"trajectory variance over {low:g} to {high:g} of the path: {chosen}",
        "area under the ROC curve (chance 0.5), invalid against valid samples; "
        "p corrected for the number of detectors",
        *(
            f"  {name:31} {area}; {_finding(area, network['p_corrected'][name])}"
            for name, area in network["auroc"].items()
        ),
    ]


def _finding(area: Auroc, p: float) -> str:
    if area.value is None:
        return "too few to tell"
    if p >= 0.05:
        told = "not told from chance"
    else:
        told = "better than chance" if area.value > 0.5 else "points the wrong way"
    return f"{told}, p = {p:.2g}"


def _local_dependency_ratios(
    denoiser: Denoiser, x_t: Tensor, t: int, regions: Regions, config: ProbeConfig
) -> Tensor:
    """LDR of each sample over all regions: (N,)."""
    ratios = []
    for index, batch in enumerate(batches(x_t, config.batch_size)):
        random = generator(config.seed, "detectors/projections", index)
        energies = estimated_energies(
            denoiser, batch, t, regions, config.detector_projections, random
        ).mean(1)
        local = energies.diagonal(dim1=1, dim2=2)
        # Not the whole less the local: rounding would order what depends on no other region.
        others = (energies * (1 - torch.eye(*energies.shape[1:]).to(energies))).sum((1, 2))
        ratios.append((local.sum(1) / (local.sum(1) + others)).nan_to_num(1.0))
    return torch.cat(ratios)


def _changed_by_renoising(
    denoiser: Denoiser, dataset: SymbolImages, images: Tensor, t: int, config: ProbeConfig
) -> Tensor:
    """Share of each sample's cells that another draw of noise at `t` reads differently: (N,)."""
    shares = []
    for index, batch in enumerate(batches(images.to(denoiser.device), config.batch_size)):
        random = generator(config.seed, "detectors/re-noising", index, denoiser.device)
        level = torch.full((len(batch),), t, device=denoiser.device)
        words, _ = dataset.read(batch)
        changed = torch.zeros_like(words, dtype=torch.float64)
        for _ in range(config.detector_renoisings):
            again, _ = dataset.read(denoiser(denoiser.noise(batch, level, random), level))
            changed += again != words
        shares.append(changed.mean(1) / config.detector_renoisings)
    return torch.cat(shares)


def _log_odds_of_invalid(denoiser: Denoiser, dataset: SymbolImages, x_t: Tensor, t: int) -> Tensor:
    """Log odds that cells read one by one from `x_t` spell an invalid word: (N,), in nats."""
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device), torch.float64)
    grammar = dataset.grammar
    evidence = dataset.evidence(x_t.double(), alpha.flatten(), sigma.flatten())
    posterior = (evidence + grammar.symbol_marginals().to(evidence).log()).log_softmax(-1)
    log_valid = torch.cat([grammar.log_partition(rows) for rows in grammar.chunks(posterior)])
    # Rounding would order the samples that are valid for certain.
    log_valid = log_valid.clamp(max=-1e-12)
    odds: Tensor = (-log_valid.expm1()).log() - log_valid
    return odds


def _check(config: ProbeConfig) -> None:
    for name in ("detector_samples", "detector_projections", "detector_renoisings"):
        if getattr(config, name) < 1:
            raise UsageError(f"probe.{name} must be at least 1, not {getattr(config, name)}")
    low, high = config.detector_window
    if not 0 <= low < high <= 1:
        raise UsageError(
            f"probe.detector_window must be two shares of the path, from 0 (noise) to 1 (image), "
            f"the first the smaller, not ({low}, {high})"
        )
