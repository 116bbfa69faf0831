"""Linear probes of the layers of a network and of their controls, answer by answer.

Each returns whether a probe is right on every test image, so that what is compared is compared
image by image, and `over_words` makes means of it.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import Interval
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.hidden_states import HiddenStatesConfig, word_splits
from diffprobe.probes.hidden_states.activations import activations
from diffprobe.probes.hidden_states.linear_probe import fit
from diffprobe.probes.hidden_states.word_splits import Split
from diffprobe.probing.untrained import untrained

# Images in a part below which nothing is trained.
FEWEST = 10


def over_words(values: Tensor, words: Tensor, *, least: float = 0.0) -> Interval:
    """Return means over images with intervals over words.

    Where no word differs from the others, as where all answers are right, the interval reaches as
    far as that of Clopper and Pearson for as many words, each right or wrong as a whole.

    Args:
        values: (…, N) between `least` and 1.
        words: (N,) long.
        least: What no mean can be less than.

    Returns:
        Of shape (…).
    """
    found = intervals.mean(values, words)
    same = found.standard_error == 0
    far = (1 - 0.025 ** (1 / found.n.clamp(min=1).double())).where(same, 0.0)
    return replace(
        found, low=(found.low - far).clamp(least, 1), high=(found.high + far).clamp(least, 1)
    )


def states_of(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    settings: HiddenStatesConfig,
    common: ProbeConfig,
    layers: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return the activations of `layers`, or of those that `settings` name."""
    return activations(
        denoiser,
        x_t,
        t,
        layers or settings.layers,
        features=settings.features,
        batch_size=common.batch_size,
        seed=common.seed,
    )


def answers(features: Tensor, labels: Tensor, split: Split) -> tuple[Tensor, float]:
    """Return whether a probe is right, (M,) of M test images, and how often on the validation part.

    Args:
        features: (N, F).
        labels: (N,) bool.
        split: Parts of the N images.
    """
    train, validation = split.train, split.validation
    probe = fit((features[train], labels[train]), (features[validation], labels[validation]))

    def right(part: Tensor) -> Tensor:
        return ((probe(features[part]) > 0) == labels[part]).double()

    return right(split.test), right(split.validation).mean().item()


def untrained_answers(
    denoiser: Denoiser,
    inputs: Mapping[int, tuple[Tensor, Tensor]],
    labels: Tensor,
    split: Split,
    settings: HiddenStatesConfig,
    common: ProbeConfig,
    chosen: int,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return whether probes of K untrained networks are right, and the layer of each.

    The layer is the best of the validation part at the timestep `chosen`, as it is for the trained
    network; at other levels no other is looked at.

    Args:
        denoiser: Whose network is built again.
        inputs: Timestep -> x_t (N, C, H, W), T of them.
        labels: (N,) bool.
        split: Parts of the N images, M of them for testing.
        settings: `layers`, `features`, `controls`.
        common: `batch_size`, `seed`.
        chosen: A timestep of `inputs`.

    Returns:
        (K, T, M) and K names; K is 0 where the network cannot be built anew.
    """
    levels = list(inputs)
    found, names = [], []
    for draw in range(settings.controls):
        network = untrained(denoiser, common.seed, draw)
        if network is None:
            break
        states = states_of(network, *inputs[chosen], settings, common)
        states.pop("x0_hat")
        probes = {name: answers(features, labels, split) for name, features in states.items()}
        best = max(probes, key=lambda name: probes[name][1])
        right = {chosen: probes[best][0]}
        for t in levels:
            if t != chosen:
                states = states_of(network, *inputs[t], settings, common, (best,))
                right[t] = answers(states[best], labels, split)[0]
        found.append(torch.stack([right[t] for t in levels]))
        names.append(best)
    if not found:
        return torch.zeros(0, len(levels), len(split.test)), ()
    return torch.stack(found), tuple(names)


def shared_answers(
    features: Tensor, word: Tensor, labels: Tensor, draws: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether probes of true and of random labels are right, on words that are trained on.

    Split and random labels are drawn several times: which images a probe happens to be trained on
    counts for less, and that is what an interval over words does not see.

    Args:
        features: (N, F).
        word: (N,) long, which word each image is of.
        labels: (N,) bool.
        draws: How many splits, each with its own random labels.
        random: For the draws.

    Returns:
        The test images of all draws, (M,) indices, and on each whether the probe of the labels is
        right, (M,), and that of the random labels, (M,). M is 0 where words hardly repeat.
    """
    tested, true, drawn = [word[:0]], [torch.zeros(0)], [torch.zeros(0)]
    for _ in range(draws):
        split = word_splits.by_image(word, labels, random)
        if min(len(split.train), len(split.validation), len(split.test)) < FEWEST:
            return tested[0], true[0], drawn[0]
        tested.append(split.test)
        true.append(answers(features, labels, split)[0])
        random_ones = word_splits.random_labels(word, labels, random)
        drawn.append(answers(features, random_ones, split)[0])
    return torch.cat(tested), torch.cat(true), torch.cat(drawn)
