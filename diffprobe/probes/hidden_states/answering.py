"""One question put to every layer at every noise level, and to the controls."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.hidden_states import HiddenStatesConfig, word_splits
from diffprobe.probes.hidden_states.activations import default_layers
from diffprobe.probes.hidden_states.layer_probes import (
    answers,
    over_words,
    shared_answers,
    states_of,
    untrained_answers,
)
from diffprobe.probes.hidden_states.word_splits import Split

QUESTIONS = {
    "word": "does the word behind x_t obey the grammar?",
    "sample": "will this sample be grammatical?",
}

PIXELS, OUTPUT = "x_t", "x0_hat"

# What guessing scores where both answers are equally frequent.
CHANCE = 0.5

# Words of either answer without which the half that is tested makes no interval.
FEWEST_WORDS = 10


@dataclass(frozen=True, repr=False)
class HiddenStates(Measurement):
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
            `controls` of them.
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

    def numbers(self) -> dict[str, Interval]:
        """Return the accuracy of each layer, and what it stands beside."""
        layers = {f"accuracy of {name}": self.accuracy[i] for i, name in enumerate(self.layers)}
        beside = ("optimum", "untrained", "difference", "shared", "control", "selectivity")
        return layers | {name: getattr(self, name) for name in beside}

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


def ask(
    question: str,
    denoiser: Denoiser,
    inputs: Mapping[int, tuple[Tensor, Tensor]],
    words: Tensor,
    labels: Tensor,
    decided: Tensor | None,
    settings: HiddenStatesConfig,
    common: ProbeConfig,
    progress: Progress,
) -> HiddenStates:
    """Train and test a probe of each layer at each level, and its controls.

    Args:
        inputs: Timestep -> x_t (N, C, H, W) and the levels of each image (N,) or, where cells are
            given, of each of its cells (N, cells); noisiest first.
        words: (N, L) long, what each image is of.
        labels: (N,) bool, whether that is valid.
        decided: (T, N) bool, what the exact optimum answers.
    """
    random = generator(common.seed, "hidden states, split")
    levels = torch.tensor(list(inputs))
    chosen = _verdict_level(len(levels))
    _, word = words.unique(dim=0, return_inverse=True)
    lacking = _lacking(word, labels)
    names = (PIXELS, *(settings.layers or default_layers(denoiser)), OUTPUT)
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
        for level, (_, (x_t, t)) in enumerate(each_level):
            states = {
                PIXELS: x_t.flatten(1).float().cpu(),
                **states_of(denoiser, x_t, t, settings, common),
            }
            rows.append([answers(features, labels, split) for features in states.values()])
            if level == chosen:
                at_verdict = states
        names = tuple(at_verdict)
        right = torch.stack([torch.stack([told for told, _ in row]) for row in rows], 1)
        validation = torch.tensor([[share for _, share in row] for row in rows]).double().T
        fresh, fresh_layers = untrained_answers(
            denoiser, inputs, labels, split, settings, common, int(levels[chosen])
        )
        features = at_verdict[names[_best_layer(validation[:, chosen])]]
        shared, seen, labelled = shared_answers(features, word, labels, settings.controls, random)

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
            "features": settings.features,
            "controls": settings.controls,
            "seed": common.seed,
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
