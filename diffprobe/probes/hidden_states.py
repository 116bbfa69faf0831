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

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes import word_splits
from diffprobe.probes.activations import default_layers
from diffprobe.probes.layer_probes import (
    answers,
    over_words,
    shared_answers,
    states_of,
    untrained_answers,
)
from diffprobe.probes.validity import deciding_levels, log_odds, mixed_words
from diffprobe.probes.word_splits import Split
from diffprobe.sampling import sample
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samplers.ddim import DDIMConfig

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "hidden_layers",
    "hidden_levels",
    "hidden_images",
    "hidden_samples",
    "hidden_features",
    "hidden_controls",
    "batch_size",
    "seed",
    "sampling",
)

QUESTIONS = {
    "word": "does the word behind x_t obey the grammar?",
    "sample": "will this sample be grammatical?",
}
PIXELS, OUTPUT = "x_t", "x0_hat"
# What guessing scores where both answers are equally frequent.
CHANCE = 0.5
# Images of each word drawn, so that a split by images has all of its words in every part.
REPEATS = 4
# Images below which there is nothing to train on.
FEWEST = 20
# Words of either answer without which the half that is tested makes no interval.
FEWEST_WORDS = 10


@dataclass(frozen=True)
class HiddenStates:
    """Accuracy of linear probes from R layers at T noise levels, with 95 % intervals over words.

    Accuracies are shares of right answers in a test part of which half is true; NaN where there are
    too few words. Controls are of the best layer at the level of the verdict, see `best`.

    Attributes:
        question: "word" or "sample".
        layers: R names: "x_t", the layers in the order in which they are run, "x0_hat".
        t: (T,) long, noisiest first.
        log_snr: (T,).
        accuracy: (R, T) on words that are not in the other parts.
        validation: (R, T) the same in the part that chose the penalty, whose words are not in the
            other parts either.
        optimum: (T,) of the exact optimum on the test images; NaN where it is not known.
        untrained: (T,) mean over K untrained networks on the same images, each with its best layer;
            NaN where there is none.
        untrained_each: (K, T) of each untrained network.
        untrained_layers: K names, each network's best layer.
        difference: (T,) the best layer less the mean of the untrained networks, image by image.
        shared: () accuracy on splits by images whose test words are all trained on, mean over
            `hidden_controls` of them.
        control: () the same of random labels by word, other ones on each split.
        selectivity: () the difference of these two, image by image.
        images: In the test part of the split by words.
        words: Distinct ones in that part.
        shared_images: In the test parts of the splits by images, each counted once.
        lacking: Why nothing was measured, or "".
        settings: Images, features, split, seed.
    """

    question: str
    layers: tuple[str, ...]
    t: Tensor
    log_snr: Tensor
    accuracy: Interval
    validation: Tensor
    optimum: Interval
    untrained: Interval
    untrained_each: Interval
    untrained_layers: tuple[str, ...]
    difference: Interval
    shared: Interval
    control: Interval
    selectivity: Interval
    images: int
    words: int
    shared_images: int
    lacking: str
    settings: dict[str, Any]

    @property
    def best(self) -> tuple[int, int]:
        """The level at which the answer is all but certain, and the best hidden state there.

        That is the cleanest level but the end of the schedule, where a network has nothing to do.
        The layer is chosen on the validation part alone.

        Returns:
            Indices of the layer and of the level.
        """
        level = _verdict_level(len(self.t))
        return _best_layer(self.validation[:, level]), level


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> HiddenStates:
    """Ask each layer whether the word behind a noisy image obeys the grammar.

    Args:
        denoiser: With named layers; an untrained network is measured beside a `NetworkDenoiser`
            of diffusers' kind.
        dataset: Whose words and product-invalid words are drawn.
        config: `hidden_…`, `batch_size`, `seed`.
        levels: (T,) timesteps instead of those where the optimum turns from chance to certainty.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer, the images are too few, or no word is invalid.
    """
    config = config or ProbeConfig()
    _check(config)
    random = generator(config.seed, "hidden states")
    drawn = mixed_words(dataset.grammar, config.hidden_images // (2 * REPEATS), random)
    words = drawn.repeat_interleave(REPEATS, 0)
    labels = (torch.arange(len(drawn)) % 2 == 0).repeat_interleave(REPEATS)
    x_0 = dataset.draw(words, random).to(denoiser.device)
    eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
    if levels is None:
        levels = deciding_levels(denoiser, dataset, x_0, eps, config.hidden_levels)
    inputs, odds = {}, []
    for t in levels.tolist():
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_0.device))
        inputs[t] = alpha * x_0 + sigma * eps
        odds.append(log_odds(denoiser, dataset, inputs[t], t).cpu() > 0)
    return _ask("word", denoiser, inputs, words, labels, torch.stack(odds), config, progress)


def measure_samples(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
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
        config: `hidden_…`, `batch_size`, `seed`.
        sampling: Steps, batch size, seed; `hidden_samples` images are made.
        sampler: DDIM by default.
        levels: (T,) timesteps; those that the sampler visits nearest to them are taken.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer, or the images are too few.
    """
    config = config or ProbeConfig()
    _check(config)
    sampler = sampler or DDIMConfig()
    sampling = replace(sampling or SamplingConfig(), n=config.hidden_samples)
    if levels is None:
        random = generator(config.seed, "hidden states")
        words = mixed_words(dataset.grammar, 256, random)
        x_0 = dataset.draw(words, random).to(denoiser.device)
        eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
        levels = deciding_levels(denoiser, dataset, x_0, eps, config.hidden_levels)
    visited = _visited(denoiser, sampler, sampling.steps, levels)
    paths: dict[int, dict[int, Tensor]] = {t: {} for t in visited}

    def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        if int(level) in paths:
            paths[int(level)][batch] = x_t

    made = sample(denoiser, dataset.image_shape, sampler, sampling, progress, watch)
    verdicts = judge(dataset, made.images)
    chosen = _in_turn(verdicts.grammatical, verdicts.legible & ~verdicts.grammatical)
    inputs = {
        t: torch.cat(list(path.values()))[chosen.to(denoiser.device)] for t, path in paths.items()
    }
    words, labels = verdicts.words[chosen].cpu(), verdicts.grammatical[chosen].cpu()
    return _ask("sample", denoiser, inputs, words, labels, None, config, progress)


def probe(subject: "Subject", keep: "Keep") -> dict[str, HiddenStates]:
    """Put both questions to the network."""
    dataset, config = subject.dataset, subject.config
    if dataset is None:
        raise UsageError("hidden states are asked about a grammar, and none is known")
    return {
        "word": keep(
            "word",
            HiddenStates,
            lambda: measure(subject.denoiser, dataset, config.probe, progress=subject.progress),
        ),
        "sample": keep(
            "sample",
            HiddenStates,
            lambda: measure_samples(
                subject.denoiser,
                dataset,
                config.probe,
                config.sampling,
                config.sampler,
                progress=subject.progress,
            ),
        ),
    }


def summary(results: dict[str, HiddenStates]) -> dict[str, Any]:
    """Return what the best layer tells of each question where the answer is all but certain."""
    found = {}
    for question, result in results.items():
        row, level = result.best
        each = result.untrained_each.value[:, level]
        found[question] = {
            "layer": result.layers[row],
            "t": result.t[level],
            "log_snr": result.log_snr[level].item(),
            "images": result.images,
            "words": result.words,
            "accuracy": estimate(result.accuracy, (row, level)),
            "pixels": estimate(result.accuracy, (0, level)),
            "output": estimate(result.accuracy, (-1, level)),
            # Named for what it is, so that it is not taken for a measurement of the network.
            "bayes": estimate(result.optimum, level),
            "chance": CHANCE,
            "untrained": estimate(result.untrained, level),
            "untrained_range": [float(each.min()), float(each.max())] if len(each) else None,
            "untrained_networks": len(each),
            "difference": estimate(result.difference, level),
            "shared": estimate(result.shared),
            "control": estimate(result.control),
            "selectivity": estimate(result.selectivity),
            "shared_images": result.shared_images,
            "lacking": result.lacking,
        }
    return found


def lines(content: Mapping[str, Any], subject: "Subject") -> list[str]:
    """Return the summary in words."""
    told = []
    for question, found in content.items():
        told.append(f"hidden states, {QUESTIONS[question]}")
        if found["lacking"]:
            told.append(f"  undefined: {found['lacking']}")
            continue
        told += [
            f"  best layer {found['layer']} at log-SNR {found['log_snr']:.1f}, on words that its "
            f"probe has not seen: {interval(found['accuracy'])} ({found['images']:,} images of "
            f"{found['words']:,} words); {verdict(found)}",
            f"  {_beside(found)}",
            f"  of words seen {interval(found['shared'])}, and of random labels by word "
            f"{interval(found['control'])}: selectivity {interval(found['selectivity'])} "
            f"({found['shared_images']:,} images of {found['selectivity']['n']:,} words)",
            f"  the same linear probe of the noisy pixels: {interval(found['pixels'])}; of the "
            f"output x0_hat: {interval(found['output'])}",
        ]
    return told


def verdict(found: Mapping[str, Any]) -> str:
    """Return what one question's summary allows to be said of the best layer.

    More than an untrained network is claimed where the interval of the paired difference is above
    zero and no untrained network scores as much; that a rule was found, where the accuracy on
    unseen words is above one half too.
    """
    accuracy, difference = found["accuracy"], found["difference"]
    if not math.isfinite(accuracy["low"]):
        return "too few words for a verdict"
    generalises = accuracy["low"] > found["chance"]
    if found["untrained_range"] is None:
        compared = "no untrained network to compare with"
        half = "above one half" if generalises else "not above one half"
        return f"{half}, and {compared}"
    more = difference["low"] > 0 and accuracy["value"] > found["untrained_range"][1]
    if not more:
        return "no more than an untrained network"
    if not generalises:
        return "above the untrained network, but not above one half on unseen words"
    return "above the untrained network, and generalises to unseen words"


def _beside(found: Mapping[str, Any]) -> str:
    optimum = found["bayes"]
    ceiling = f"; exact optimum {interval(optimum)}" if math.isfinite(optimum["value"]) else ""
    if found["untrained_range"] is None:
        return f"no network to build anew, untrained{ceiling}"
    low, high = found["untrained_range"]
    return (
        f"the same network untrained: {interval(found['untrained'])}, {low:.3f} to {high:.3f} over "
        f"{found['untrained_networks']} seeds; difference {interval(found['difference'])}{ceiling}"
    )


def draw(results: dict[str, HiddenStates], subject: "Subject", folder: Path) -> None:
    """Draw the accuracies of both questions side by side."""
    with figure(folder / "hidden-states", 7.5, 4.2) as canvas:
        panels = canvas.subplots(1, len(results), sharey=True, squeeze=False)[0]
        for ax, result in zip(panels, results.values(), strict=True):
            plot(result, ax)
            ax.label_outer()
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=4)


def plot(result: HiddenStates, ax: Axes) -> Axes:
    """Draw accuracy on unseen words at each level, early layers to late, and what it is beside.

    The grey band reaches from the least to the most of the untrained networks; the two marks at the
    level of the verdict are the probe of words seen before, and of random labels of them.
    """
    places = torch.arange(len(result.t), dtype=torch.float64)
    depths = len(result.layers) - 2
    shades = mpl.colormaps["viridis"]
    if len(result.untrained_layers) and result.untrained.value.isfinite().any():
        low, high = result.untrained_each.value.aminmax(dim=0)
        # Where all networks agree the band has no height, and its middle is seen.
        label = f"untrained, {len(result.untrained_layers)} seeds"
        ax.fill_between(places, low, high, color="0.8", lw=0, label=label, zorder=0)
        ax.plot(places, result.untrained.value, color="0.7", lw=1, zorder=0)
    for row, name in enumerate(result.layers):
        if name == PIXELS:
            style: dict[str, Any] = {"color": "0.5", "ls": "--", "label": "noisy pixels"}
        elif name == OUTPUT:
            style = {"color": COLORS["invalid"], "ls": "--", "label": "output x0_hat"}
        else:
            style = {"color": shades(0.95 * (row - 1) / max(depths - 1, 1)), "label": name}
        # Beside each other, so that intervals can be told apart.
        beside = places + 0.4 * (row / (len(result.layers) - 1) - 0.5)
        _points(ax, beside, result.accuracy[row], lw=1.2, **style)
    if result.optimum.value.isfinite().any():
        _points(ax, places, result.optimum, color=COLORS["bayes"], label="exact optimum")
    if result.lacking:
        ax.text(0.5, 0.6, "undefined: too few words", ha="center", transform=ax.transAxes)
    else:
        place = places[[result.best[1]]] + 0.33
        # Empty, so that they are not taken for the layers' own.
        marks: dict[str, Any] = {"color": COLORS["empirical"], "ls": "", "mfc": "white"}
        _points(ax, place, result.shared[None], **marks | {"marker": "s"}, label="words seen")
        _points(ax, place, result.control[None], **marks | {"marker": "D"}, label="random labels")
    ax.axhline(CHANCE, color="0.3", ls=":", lw=1, label="one half")
    ax.set_xticks(places.tolist(), [f"{s:.1f}" for s in result.log_snr.tolist()])
    ax.set(
        xlabel="log-SNR (nats)",
        ylabel="accuracy on unseen words",
        title=f"{QUESTIONS[result.question]}\n({result.images:,} images of {result.words:,} words)",
    )
    return ax


def _points(ax: Axes, places: Tensor, found: Interval, **style: Any) -> None:
    error = torch.stack([found.value - found.low, found.high - found.value]).clamp(min=0)
    ax.errorbar(
        places.numpy(), found.value.numpy(), yerr=error.numpy(), **{"marker": "o", "ms": 3, **style}
    )


# ---- the probes ------------------------------------------------------------------------------


def _ask(
    question: str,
    denoiser: Denoiser,
    inputs: Mapping[int, Tensor],
    words: Tensor,
    labels: Tensor,
    decided: Tensor | None,
    config: ProbeConfig,
    progress: Progress,
) -> HiddenStates:
    """Train and test a probe of each layer at each level, and its controls.

    Args:
        inputs: Timestep -> x_t (N, C, H, W), noisiest first.
        words: (N, L) long, what each image is of.
        labels: (N,) bool, whether that is valid.
        decided: (T, N) bool, what the exact optimum answers.
    """
    random = generator(config.seed, "hidden states, split")
    levels = torch.tensor(list(inputs))
    chosen = _verdict_level(len(levels))
    _, word = words.unique(dim=0, return_inverse=True)
    lacking = _lacking(word, labels)
    names = (PIXELS, *(config.hidden_layers or default_layers(denoiser)), OUTPUT)
    nothing = word[:0]
    split, shared = Split(nothing, nothing, nothing), nothing
    # Layer (or network), level, image: whether a probe is right.
    right = torch.zeros(len(names), len(levels), 0)
    validation = torch.full((len(names), len(levels)), math.nan, dtype=torch.float64)
    fresh = torch.zeros(0, len(levels), 0)
    fresh_layers: tuple[str, ...] = ()
    seen = labelled = torch.zeros(0)
    if not lacking:
        split = word_splits.by_word(word, labels, random)
        each_level = progress(inputs.items(), desc=f"hidden states, {question}", unit="level")
        rows = []
        for level, (t, x_t) in enumerate(each_level):
            states = {PIXELS: x_t.flatten(1).float().cpu(), **states_of(denoiser, x_t, t, config)}
            rows.append([answers(features, labels, split) for features in states.values()])
            if level == chosen:
                at_verdict = states
        names = tuple(at_verdict)
        right = torch.stack([torch.stack([told for told, _ in row]) for row in rows], 1)
        validation = torch.tensor([[share for _, share in row] for row in rows]).double().T
        fresh, fresh_layers = untrained_answers(
            denoiser, inputs, labels, split, config, int(levels[chosen])
        )
        features = at_verdict[names[_best_layer(validation[:, chosen])]]
        shared, seen, labelled = shared_answers(
            features, word, labels, config.hidden_controls, random
        )

    sources, shared_sources = word[split.test], word[shared]
    optimum = torch.full((len(levels), len(sources)), math.nan)
    if decided is not None:
        optimum = (decided[:, split.test] == labels[split.test]).double()
    # NaN where there is no untrained network.
    mean_fresh = fresh.mean(0) if len(fresh) else torch.full_like(right[0], math.nan)
    best_row = _best_layer(validation[:, chosen])
    return HiddenStates(
        question=question,
        layers=names,
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        accuracy=over_words(right, sources),
        validation=validation,
        optimum=over_words(optimum, sources),
        untrained=over_words(mean_fresh, sources),
        untrained_each=over_words(fresh, sources),
        untrained_layers=fresh_layers,
        difference=over_words(right[best_row] - mean_fresh, sources, least=-1.0),
        shared=over_words(seen, shared_sources),
        control=over_words(labelled, shared_sources),
        selectivity=over_words(seen - labelled, shared_sources, least=-1.0),
        images=len(sources),
        words=len(sources.unique()),
        shared_images=len(shared.unique()),
        lacking=lacking,
        settings={
            "images": len(labels),
            "train": len(split.train),
            "validation": len(split.validation),
            "features": config.hidden_features,
            "controls": config.hidden_controls,
            "seed": config.seed,
        },
    )


def _verdict_level(levels: int) -> int:
    return max(levels - 2, 0)


def _best_layer(validation: Tensor) -> int:
    """The best hidden state of `validation (R,)`, whose ends are the pixels and the output."""
    return int(validation[1:-1].nan_to_num(-1).argmax()) + 1


def _lacking(word: Tensor, labels: Tensor) -> str:
    valid, invalid = (len(word[labels == label].unique()) for label in (True, False))
    if min(valid, invalid) >= FEWEST_WORDS:
        return ""
    return (
        f"{valid} valid and {invalid} invalid words, and {FEWEST_WORDS} of either are needed so "
        "that some can be left for testing"
    )


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


def _check(config: ProbeConfig) -> None:
    for name, least in (
        ("hidden_levels", 3),
        ("hidden_images", FEWEST),
        ("hidden_samples", FEWEST),
        ("hidden_features", 1),
        ("hidden_controls", 1),
        ("batch_size", 1),
    ):
        if getattr(config, name) < least:
            raise UsageError(f"probe.{name} must be at least {least}, not {getattr(config, name)}")
