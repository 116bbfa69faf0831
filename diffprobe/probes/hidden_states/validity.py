"""Words of a grammar among words that look like them cell by cell, and how to tell them exactly.

An invalid word is drawn from the product Q of the grammar's marginals, given that it is not valid.
What tells best whether a noisy image is of a valid word is

    log p(x_t | valid) − log p(x_t | invalid),
    p(x_t | invalid) = [ p_Q(x_t) − p_Q(x_t, valid) ] / (1 − P),

with P the share of valid words in Q; p_Q(x_t) is a product over cells, and p_Q(x_t, valid) the
grammar's partition function with the marginals for weights.
"""

import math
from bisect import bisect_left

import torch
from torch import Tensor

from diffprobe.datasets import Grammar, SymbolImages
from diffprobe.datasets.inference.semiring import LOG_ZERO, LogSemiring
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser

# The levels lie where the better answer is right this often, and at both ends of the schedule.
DECIDING = (0.55, 0.99)


def mixed_words(grammar: Grammar, n: int, random: torch.Generator) -> Tensor:
    """Return n words of the grammar and n product-invalid ones in turn: (2n, L) long.

    Raises:
        UsageError: If (almost) every draw from the product of the marginals is valid.
    """
    if grammar.product_rate() > 0.999:
        raise UsageError(
            "there are no invalid words to tell from valid ones: the product of the grammar's "
            f"marginals is valid in {grammar.product_rate():.2%} of draws"
        )
    valid = grammar.sample(n, random)
    marginals = grammar.symbol_marginals()
    invalid = valid[:0]
    while len(invalid) < n:
        drawn = torch.multinomial(marginals, n, replacement=True, generator=random).T
        invalid = torch.cat([invalid, drawn[~grammar.contains(drawn)]])
    return torch.stack([valid, invalid[:n]], 1).flatten(0, 1)


@torch.no_grad()
def log_odds(denoiser: Denoiser, dataset: SymbolImages, x_t: Tensor, t: int) -> Tensor:
    """Return log p(x_t | valid) − log p(x_t | product-invalid), exactly.

    Args:
        denoiser: Lends its schedule.
        dataset: Grammar and glyphs.
        x_t: (N, 1, H, W).
        t: Noise level.

    Returns:
        (N,) float64.
    """
    grammar = dataset.grammar
    x_t = in_double(x_t)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device), torch.float64)
    scores = dataset.evidence(x_t, alpha.flatten(), sigma.flatten())
    marginals = grammar.symbol_marginals().to(scores)
    nothing = torch.zeros_like(scores[:1])
    share = grammar.product_rate()
    found = []
    for rows in grammar.chunks(scores):
        valid = grammar.log_partition(rows) - grammar.log_partition(nothing)
        weighted = (rows + marginals.log()).clamp(min=LOG_ZERO)
        anything = weighted.logsumexp(-1).sum(-1)
        # The marginals are the weights here, and the grammar's own are left out.
        both = grammar.inside(weighted, LogSemiring(power=0.0))
        # Where x_t leaves no doubt rounding must not make the valid part exceed the whole.
        invalid = anything + torch.log1p(-(both - anything).clamp(max=0).exp())
        found.append(valid - invalid + math.log1p(-share))
    return torch.cat(found)


def deciding_levels(
    denoiser: Denoiser, dataset: SymbolImages, x_0: Tensor, eps: Tensor, n: int
) -> Tensor:
    """Return both ends of the schedule, and n − 2 levels between that decide, noisiest first.

    Args:
        denoiser: Lends its schedule.
        dataset: Grammar and glyphs.
        x_0, eps: (N, 1, H, W) images of valid and invalid words, and noise.
        n: At least 3.

    Returns:
        (T,) long, T ≤ n: fewer where levels coincide.
    """
    x_0, eps = x_0[:512], eps[:512]

    def doubt(t: int) -> float:
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_0.device))
        odds = log_odds(denoiser, dataset, alpha * x_0 + sigma * eps, t)
        # How often the better answer is wrong, expected without looking at the right one.
        return float((-odds.abs()).sigmoid().mean())

    def reached(accuracy: float) -> int:
        return bisect_left(range(denoiser.timesteps - 1), 1 - accuracy, key=doubt)

    every = denoiser.log_snr(torch.arange(denoiser.timesteps)).cpu()
    low, high = (every[reached(accuracy)].item() for accuracy in DECIDING)
    wanted = torch.linspace(low, high, n - 2, dtype=every.dtype)
    nearest = (every - wanted[:, None]).abs().argmin(1)
    ends = torch.tensor([0, denoiser.timesteps - 1])
    levels: Tensor = torch.cat([nearest, ends]).unique().flip(0)
    return levels
