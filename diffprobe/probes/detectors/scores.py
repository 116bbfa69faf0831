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

Where cells are given (`sampling.given`), samples are told apart on this condition: what is given
is clean at every level, for the denoiser and the oracles alike, and the LDR is that of the others.

Reference: Aithal et al., "Understanding hallucinations in diffusion models through mode
interpolation", arXiv:2406.09358.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.stored_images import held
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.ranks import Auroc, auroc
from diffprobe.foundations.settings import to_settings
from diffprobe.foundations.statistics import Rate, holm, wilson
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.detectors import DetectorsConfig
from diffprobe.probes.detectors.by_verdict import compare, each_sample
from diffprobe.probes.detectors.names import KNOWS
from diffprobe.probes.detectors.one_level import (
    changed_by_renoising,
    energies_of,
    log_odds_of_invalid,
    ratios_as_scores,
)
from diffprobe.probing.grammar_weight import GrammarWeight
from diffprobe.probing.noise_levels import check_level
from diffprobe.probing.regions import Regions
from diffprobe.probing.sampling_path import SamplingPath
from diffprobe.sampling import Given, sample
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

# The grammar lives where its weight is at least this share of the largest.
LIVES = 0.1


@dataclass(frozen=True, repr=False)
class Detectors(Measurement):
    """Scores and verdicts of N samples.

    Attributes:
        scores: Detector -> (N,) float64, higher for what is more likely a hallucination.
        auroc: Detector -> how well it tells invalid from valid among the legible samples. The
            intervals and p are of each detector by itself, not of the best of several.
        each: Name -> (N,) float64, what `by_verdict` averages.
        by_verdict: Quantity -> "valid", "invalid" and their "difference"; see the module
            `by_verdict`.
        legible: (N,) bool, every cell can be read.
        grammatical: (N,) bool, legible and valid.
        t: The level of the single-level detectors.
        log_snr: The same as log(alpha²/sigma²).
        settings: Sampler, window, levels where the grammar lives, repeats, seed.
    """

    scores: dict[str, Tensor]
    auroc: dict[str, Auroc]
    each: dict[str, Tensor]
    by_verdict: dict[str, dict[str, Interval]]
    legible: Tensor
    grammatical: Tensor
    t: int
    log_snr: float
    settings: dict[str, Any]

    def numbers(self) -> dict[str, Auroc]:
        """Return each detector's area under the ROC curve."""
        return self.auroc

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
    settings: DetectorsConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    t: int,
    sampler: SamplerKind | None = None,
    sampling: SamplingConfig | None = None,
    weight: GrammarWeight | None = None,
    regions: Regions | None = None,
    progress: Progress = silent,
) -> Detectors:
    """Sample from a denoiser, score each sample along its path, and judge it by the grammar.

    Memory: three images a sample, whatever the number of steps, and the energies between regions
    from each projection, of the denoiser and of the Bayes oracle.

    Args:
        denoiser: A network, or an oracle.
        dataset: Whose grammar judges, and whose glyphs and oracles some detectors know.
        settings: `samples` N; `window`, the part of the path, from 0 (noise) to 1 (image) in
            timesteps, whose variance is taken; `projections` a cell for the LDR; `renoisings`.
        common: `batch_size`, `seed`, and what the weight of the grammar is measured with.
        t: The level of the single-level detectors; along the path, the step nearest to it.
        sampler: DDIM by default.
        sampling: Steps, seed and batch size; its `n` is not used.
        weight: Of the grammar, where it is known already.
        regions: Of the LDR; the cells by default.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such level, or the sampler takes too few steps in the window or
            where the grammar lives.
    """
    settings, common = settings or DetectorsConfig(), common or ProbeConfig()
    check_level(denoiser, t)
    sampler = sampler or DDIMConfig()
    asked = sampling or SamplingConfig()
    sampling = replace(asked.plain, n=settings.samples, given=asked.given)
    regions = regions or Regions.cells(dataset)
    given = None
    if sampling.given:
        given = Given.read(sampling.given, dataset, sampling.n, sampling.seed)
    # A denoiser of one level an image sees what is given as noisy as the rest.
    clean = given if denoiser.cells is not None else None
    living = (weight or GrammarWeight.of(denoiser, dataset, common)).above(LIVES)
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    path = SamplingPath(
        dataset,
        bayes,
        ProductDenoiser(dataset, denoiser.scheduler).to(denoiser.device),
        level=t,
        window=settings.window,
        living=(int(living.min()), int(living.max())),
        given=clean,
    )
    made = sample(denoiser, dataset.image_shape, sampler, sampling, progress, path, given=given)
    path.check()
    visited = path.batches[0].t
    x_t = torch.cat([batch.x_t for batch in path.batches])
    variance = dataset.cells(path.trajectories.variance[0]).mean((2, 3, 4))
    energies, bayes_energies = (
        energies_of(of, x_t, visited, regions, settings.projections, common, clean)
        for of in (denoiser, bayes)
    )
    to_product = torch.cat([b.to_product.mean for b in path.batches])
    to_bayes = torch.cat([b.to_bayes.mean for b in path.batches])
    worth = torch.cat([b.worth.mean for b in path.batches])
    entropy = torch.cat([b.entropy.mean for b in path.batches])
    each = each_sample(energies, bayes_energies, to_product, to_bayes, worth, entropy)
    found = {
        "trajectory_variance": variance.mean(1),
        "trajectory_variance_worst_cell": variance.amax(1),
        "ldr": ratios_as_scores(energies),
        "symbol_entropy": entropy,
        "renoising": changed_by_renoising(
            denoiser,
            dataset,
            held(made.images, "re-noising"),
            t,
            settings.renoisings,
            common,
            clean,
        ),
        "distance_to_product": -to_product,
        "distance_to_bayes": to_bayes,
        "odds_under_grammar": log_odds_of_invalid(bayes, dataset, x_t, visited, clean),
    }
    scores = {name: score.cpu().double() for name, score in found.items()}
    verdicts = judge(dataset, made)
    legible, invalid = verdicts.legible, ~verdicts.grammatical
    return Detectors(
        scores=scores,
        auroc={name: auroc(score[legible], invalid[legible]) for name, score in scores.items()},
        each=each,
        by_verdict=compare(each, verdicts.grammatical, legible & invalid),
        legible=legible,
        grammatical=verdicts.grammatical,
        t=visited,
        log_snr=denoiser.log_snr(torch.tensor([visited])).item(),
        settings={
            "samples": settings.samples,
            "sampler": to_settings(sampler),
            "steps": sampling.steps,
            "window": settings.window,
            "grammar_lives": path.living,
            "projections": settings.projections,
            "renoisings": settings.renoisings,
            "seed": common.seed,
            "sampling_seed": sampling.seed,
            **({"given": sampling.given} if sampling.given else {}),
        },
    )


def best(result: Detectors) -> str:
    """Return the detector of the largest AUROC among those that do not know the grammar."""
    usable = [name for name in result.scores if KNOWS[name] != "grammar"]
    return max(usable, key=lambda name: result.auroc[name].value or 0.0)


def measure_beside(
    settings: DetectorsConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Detectors]:
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
                settings,
                config.probe,
                t=subject.level,
                sampler=config.sampler,
                sampling=config.sampling,
                weight=subject.weight,
                regions=subject.regions,
                progress=subject.progress,
            ),
        )
        for name, denoiser in subject.beside("product").items()
    }
