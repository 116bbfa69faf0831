"""What is drawn to place a network: the oracles of sets of words, and inner products of outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Stream, SymbolImages
from diffprobe.datasets.stream import FiniteWords
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.intervals import effective_number
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser, training_oracle
from diffprobe.probes.placement.regression import NIL
from diffprobe.probing.grammar_weight import weight_of_draws
from diffprobe.probing.noise_levels import noisy_inputs

# Levels with less than this share of the largest weight say nothing about gamma.
NEGLIGIBLE = 0.01
# Draws that decide which levels those are. They are the same in every measurement: were they the
# measured ones, levels would come and go with what is measured at them.
SCOUTS = 256
# A regression on hardly more than one draw explains what it is given. What gamma leaves unexplained
# is asked where at least this share of the draws is in effect, (Σ a²)² / (N Σ a⁴).
IN_EFFECT = 0.1


def levels_with_grammar(
    denoiser: Denoiser, dataset: SymbolImages, levels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where the grammar's weight is not negligible, and where many draws share it: (T,)."""
    weights = weight_of_draws(denoiser, dataset, levels, SCOUTS, 0)
    weight = weights.mean(1)
    known = (weight > NEGLIGIBLE * weight.max()) & (weight > NIL)
    return known, known & (effective_number(weights) > IN_EFFECT * SCOUTS)


@torch.no_grad()
def inner_products(
    network: Denoiser,
    dataset: SymbolImages,
    images: int,
    common: ProbeConfig,
    t: int,
    sets: Sequence[Denoiser],
) -> Tensor:
    """Gram matrices of r = D_net − D_product, a = D_Bayes − D_product, c = D_product, b_k.

    Of draws that are independent of those at other levels: an average over levels is then of many
    draws, where the same ones at all levels would be one draw many times.

    Returns:
        (N, 3 + K, 3 + K) float64 on the CPU.
    """
    bayes = BayesDenoiser(dataset, network.scheduler).to(network.device)
    product = ProductDenoiser(dataset, network.scheduler).to(network.device)
    inputs = noisy_inputs(network, dataset, images, t, common.seed, block=t)
    found = []
    for x_t in inputs.split(common.batch_size):
        level = torch.full((len(x_t),), t, device=x_t.device)
        d_net, d_product, d_bayes, *d_sets = (
            in_double(d(x_t, level)) for d in (network, product, bayes, *sets)
        )
        vectors = [
            d_net - d_product,
            d_bayes - d_product,
            d_product,
            *(d - d_bayes for d in d_sets),
        ]
        stacked = torch.stack(vectors, 1).flatten(2)
        found.append((stacked @ stacked.mT).cpu())
    return torch.cat(found)


def oracles_of_sets(
    dataset: SymbolImages, denoiser: Denoiser, stream: Stream | None, n: int
) -> list[Denoiser]:
    """Return the optimum of the training set and those of the placebos; none if there are < 2."""
    if not isinstance(stream, FiniteWords):
        return []
    streams = [stream, *placebos(stream, n)]
    oracles = [training_oracle(dataset, denoiser.scheduler, each) for each in streams]
    return [o.to(denoiser.device) for o in oracles if o is not None] if len(streams) > 2 else []


def placebos(stream: FiniteWords, n: int) -> list[FiniteWords]:
    """Return up to `n` other sets of as many words, drawn as the training set was.

    All differ from the training set and from each other: sets drawn alike, the training set among
    them, and drawn again where one comes twice, are still exchangeable. That placebos share words
    with the training set, the more the larger it is, is part of it.

    Args:
        stream: The training set; placebos have the seeds that follow its own.
        n: How many; fewer are found where the language hardly has more such sets.
    """
    seen: list[Tensor] = []
    found: list[FiniteWords] = []
    for seed in range(stream.seed, stream.seed + 1 + 20 * n):
        if len(found) > n:
            break
        other = stream.redrawn(seed)
        words = other.training.unique(dim=0)  # in order
        if not any(torch.equal(words, each) for each in seen):
            seen.append(words)
            found.append(other)
    return found[1:]
