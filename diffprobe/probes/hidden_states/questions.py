"""What the hidden states know: linear probes of each layer, at each noise level.

Two questions are put to the activations of a noisy image x_t:

    word      does the word behind x_t obey the grammar? Half of the images are of words of the
              grammar, half of words drawn from the product of its marginals that are not valid:
              cell by cell the two look alike. Each word drawn is behind `REPEATS` images.
    sample    will this sample be grammatical? x_t lies on the network's own sampling path, and the
              answer is the verdict on the word that it ends in. Illegible samples are left out, and
              of the more frequent answer so many that both are equally frequent.

A probe that has seen a word may know it again, and wide random features know most words again. So
layers are tested on words that no probe has seen, and stand beside

    untrained     the same network with fresh weights, its best layer chosen in the same way, on the
                  same images and the same split
    control       random labels by word (`word_splits`), on a split by images that shares words:
                  selectivity is the accuracy of the true labels on that split less that of the
                  random ones
    x_t, x0_hat   the same probe of the noisy pixels and of the output
    optimum       for the word, what no probe can beat in expectation: the sign of
                  log p(x_t | valid) − log p(x_t | invalid), see `validity`

One half is what guessing scores, and no more than that: in a small language the words left for
testing are those that the words trained on are not, so that what looks like a rule there is wrong
more often than not, and a probe that knows nothing scores below one half.

Intervals are over words: images of one word are one observation.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.hidden_states import HiddenStatesConfig
from diffprobe.probes.hidden_states.answering import HiddenStates, ask
from diffprobe.probes.hidden_states.validity import deciding_levels, log_odds, mixed_words
from diffprobe.sampling import Given, sample
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

# Images of each word drawn, so that a split by images has all of its words in every part.
REPEATS = 4


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    settings: HiddenStatesConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> HiddenStates:
    """Ask each layer whether the word behind a noisy image obeys the grammar.

    Args:
        denoiser: With named layers; an untrained network is measured beside a `NetworkDenoiser`
            of diffusers' kind.
        dataset: Whose words and product-invalid words are drawn.
        settings: `layers`, `levels`, `images`, `samples`, `features`, `controls`.
        common: `batch_size`, `seed`.
        levels: (T,) timesteps instead of those where the optimum turns from chance to certainty.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer, or no word is invalid.
    """
    settings, common = settings or HiddenStatesConfig(), common or ProbeConfig()
    random = generator(common.seed, "hidden states")
    drawn = mixed_words(dataset.grammar, settings.images // (2 * REPEATS), random)
    words = drawn.repeat_interleave(REPEATS, 0)
    labels = (torch.arange(len(drawn)) % 2 == 0).repeat_interleave(REPEATS)
    x_0 = dataset.draw(words, random).to(denoiser.device)
    eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
    if levels is None:
        levels = deciding_levels(denoiser, dataset, x_0, eps, settings.levels)
    inputs, odds = {}, []
    for t in levels.tolist():
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_0.device))
        x_t = alpha * x_0 + sigma * eps
        inputs[t] = x_t, torch.full((len(x_t),), t)
        odds.append(log_odds(denoiser, dataset, x_t, t).cpu() > 0)
    return ask(
        "word", denoiser, inputs, words, labels, torch.stack(odds), settings, common, progress
    )


def measure_samples(
    denoiser: Denoiser,
    dataset: SymbolImages,
    settings: HiddenStatesConfig | None = None,
    common: ProbeConfig | None = None,
    sampling: SamplingConfig | None = None,
    sampler: SamplerKind | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> HiddenStates:
    """Ask each layer, along the sampling path, whether the sample will be grammatical.

    Args:
        denoiser: With named layers; it is sampled from.
        dataset: Whose reader and grammar judge the samples.
        settings: `layers`, `levels`, `images`, `samples`, `features`, `controls`.
        common: `batch_size`, `seed`.
        sampling: Steps, batch size, seed, and what is `given`, which then is clean at every level;
            `settings.samples` images are made.
        sampler: DDIM by default.
        levels: (T,) timesteps; those that the sampler visits nearest to them are taken.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer.
    """
    settings, common = settings or HiddenStatesConfig(), common or ProbeConfig()
    sampler = sampler or DDIMConfig()
    asked = sampling or SamplingConfig()
    sampling = replace(asked.plain, n=settings.samples, given=asked.given)
    given = Given.read(asked.given, dataset, sampling.n, sampling.seed) if asked.given else None
    if levels is None:
        random = generator(common.seed, "hidden states")
        words = mixed_words(dataset.grammar, 256, random)
        x_0 = dataset.draw(words, random).to(denoiser.device)
        eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
        levels = deciding_levels(denoiser, dataset, x_0, eps, settings.levels)
    visited = _visited(denoiser, sampler, sampling.steps, levels)
    paths: dict[int, dict[int, Tensor]] = {t: {} for t in visited}

    def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        if int(level) in paths:
            paths[int(level)][batch] = x_t

    made = sample(denoiser, dataset.image_shape, sampler, sampling, progress, watch, given=given)
    verdicts = judge(dataset, made)
    chosen = _in_turn(verdicts.grammatical, verdicts.legible & ~verdicts.grammatical)
    clean = given.part(chosen, denoiser.device) if given and denoiser.cells is not None else None
    inputs = {}
    for t, path in paths.items():
        x_t = torch.cat(list(path.values()))[chosen.to(denoiser.device)]
        levels = torch.full((len(x_t),), t, device=x_t.device)
        inputs[t] = (x_t, levels) if clean is None else (clean.onto(x_t), clean.levels(levels))
    words, labels = verdicts.words[chosen].cpu(), verdicts.grammatical[chosen].cpu()
    return ask("sample", denoiser, inputs, words, labels, None, settings, common, progress)


def measure_both(
    settings: HiddenStatesConfig, subject: "Subject", keep: "Keep"
) -> dict[str, HiddenStates]:
    """Put both questions to the network."""
    dataset, config = subject.dataset, subject.config
    if dataset is None:
        raise UsageError("hidden states are asked about a grammar, and none is known")
    common, progress = config.probe, subject.progress
    return {
        "word": keep(
            "word",
            HiddenStates,
            lambda: measure(subject.denoiser, dataset, settings, common, progress=progress),
        ),
        "sample": keep(
            "sample",
            HiddenStates,
            lambda: measure_samples(
                subject.denoiser,
                dataset,
                settings,
                common,
                config.sampling,
                config.sampler,
                progress=progress,
            ),
        ),
    }


def _in_turn(yes: Tensor, no: Tensor) -> Tensor:
    """Indices of the first so many of either kind, in turn: as many as the rarer kind has."""
    n = int(min(yes.sum(), no.sum()))
    return torch.stack([kind.nonzero()[:n, 0] for kind in (yes, no)], 1).flatten()


def _visited(denoiser: Denoiser, sampler: SamplerKind, steps: int, levels: Tensor) -> list[int]:
    """Return the timesteps on the sampler's path that are nearest to `levels`, noisiest first."""
    path = sampler.path(denoiser.schedule, steps).levels.cpu()
    log_snr = denoiser.log_snr(path).cpu()
    nearest = (log_snr - denoiser.log_snr(levels).cpu()[:, None]).abs().argmin(1)
    return sorted(set(path[nearest].tolist()), reverse=True)
