"""What the exact posterior makes of each cell, and which attribution methods tell it.

For images of a grammar, what the output F of one cell, i, owes to another, j, is known. Given the
other cells, cell j holds symbol v and glyph k with probability

    b_vk = p(w_j = v | x_t without cell j) / K_v,

and the Bayes estimate of F if it does is F_vk. Whatever the pixels of cell j are,

    F(x_t with x' in cell j) = sum_vk b_vk l_vk(x') F_vk / sum_vk b_vk l_vk(x'),

l_vk(x') their likelihood. Two changes are made to the evidence of cell j:

    marginalised   |F(x_t) - sum_vk b_vk F_vk|, its pixels not seen
    redrawn        E|F(x_t) - F(x_t with x' in cell j)|, x' drawn anew from p(x_j | the other cells)

Redrawing from the conditional law keeps to images that occur, and on average gives the marginalised
output. Of each there is the same for the posterior of the region's symbol, in total variation. In
a parity all other cells are marginalised alike, since one that is missing hides what the rest say:
there only redrawing ranks them. Drawing from p(x_j) instead would be, but for the number of draws,
feature ablation from noisy images, and could not judge it.

References:
    Robnik-Šikonja & Kononenko, "Explaining classifications for individual instances", 2008
    (features marginalised), and Zintgraf et al., "Visualizing deep neural network decisions:
    prediction difference analysis", arXiv:1702.04595 (drawn given the others).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import one_hot

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.intervals import Interval, mean
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.tables import Table
from diffprobe.probes.attribution.ranks import own_cell_alone, truthfulness

# Of a mean rank correlation: one image in a hundred that is ranked otherwise, such as one whose own
# cell comes second, need not be in a sample of 64.
RESOLUTION = 0.01

# What can be changed about a cell, and what is looked at; the first is the headline.
EFFECTS = ("redrawn", "marginalised", "posterior-redrawn", "posterior-marginalised")


@dataclass(frozen=True)
class Conditionals:
    """A region's output and symbol, given each symbol and glyph of each cell and the other cells.

    Attributes:
        log_prior: (N, L, V, K) log b_vk, -inf for what cannot be.
        outputs: (N, L, V, K) F_vk.
        symbols: (N, L, V, V) posterior of the region's symbol if cell j holds v.
        output: (N,) F(x_t).
        posterior: (N, V) of the region's symbol given x_t.
    """

    log_prior: Tensor
    outputs: Tensor
    symbols: Tensor
    output: Tensor
    posterior: Tensor

    def given(self, evidence: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return output and symbol with other evidence in one cell at a time.

        Args:
            evidence: (…, N, L, V, K) log-likelihood of the glyphs, cell j's used in row j; 0 for
                none.

        Returns:
            (…, N, L) output, and (…, N, L, V) posterior of the region's symbol.
        """
        scores = self.log_prior + evidence
        weights = scores.flatten(-2).softmax(-1).reshape(scores.shape)
        outputs = (weights * self.outputs).sum((-2, -1))
        return outputs, torch.einsum("...nlv,nlvu->...nlu", weights.sum(-1), self.symbols)


@dataclass(frozen=True, repr=False)
class Truth(Table):
    """What changing each cell does to the exact output, and what maps of it say, for N images.

    Attributes:
        methods: M names, ablation and Shapley values from every baseline.
        cell_sums: (M, N, L) sum of |map| of the Bayes denoiser over each cell.
        effects: (E, N, L) true effects, in the order of `EFFECTS`; the first and second in units
            of F, the others total variation, 0 … 1.
        controls: Name -> (N, L): the headline effect by other draws, the most that can be scored;
            random maps; and the ablation of the product denoiser, which listens to no other cell.
        size: (N,) sum of |w|: how large F can be in images of values ±1.
        region: The cell whose output is attributed.
        draws: How often each cell was redrawn.
        sources: (N,) the picture that each input was made from; None where none is shared.
    """

    methods: tuple[str, ...]
    cell_sums: Tensor
    effects: Tensor
    controls: dict[str, Tensor]
    size: Tensor
    region: int
    draws: int
    sources: Tensor | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return how each method ranks the other cells, and all, beside the headline effect."""
        scores = {"others": self.score(), "all": self.score(others=False)}
        return [
            {"method": method, "cells": which, **score.estimate(i).rows()[0]}
            for which, score in scores.items()
            for i, method in enumerate(self.methods)
        ]

    def __repr__(self) -> str:
        return f"<Truth about {len(self.methods)} methods of attribution>"

    def scores(self, effect: str = EFFECTS[0], *, others: bool = True) -> Tensor:
        """Return rank correlations with a true effect, over other cells or all: (M, N)."""
        truth = self.effects[EFFECTS.index(effect)]
        return truthfulness(self.cell_sums, truth, self.region, others=others, size=self.size)

    def score(self, effect: str = EFFECTS[0], *, others: bool = True) -> Interval:
        """Return the mean of `scores` over images: (M,)."""
        return mean(self.scores(effect, others=others), self.sources, resolution=RESOLUTION)

    def control(self, name: str, *, others: bool = True) -> Interval:
        """Return how a control scores for the headline effect."""
        values = truthfulness(self.controls[name], self.effects[0], self.region, others=others)
        return mean(values, self.sources, resolution=RESOLUTION)

    def chance(self, *, others: bool = True) -> float:
        """Return what maps score that know the own cell, if it counts, and guess the others."""
        return 0.0 if others else own_cell_alone(self.effects[0], self.region).nanmean().item()


def conditionals(
    dataset: SymbolImages, x_t: Tensor, alpha: Tensor, sigma: Tensor, weights: Tensor, region: int
) -> Conditionals:
    """Compute what the output of one cell is for each symbol and glyph of each cell.

    N L (V + 1) words' worth of evidence go through the grammar's recursion.

    Args:
        dataset: Grammar, glyphs and grid.
        x_t: (N, C, H, W) noisy images.
        alpha, sigma: (1,) or (N,) scales of signal and noise.
        weights: (N, C, H, W), what F weighs pixels with; zero outside the region's cell.
        region: That cell.

    Returns:
        In the precision of `x_t`.
    """
    grammar, glyphs = dataset.grammar, dataset.glyphs
    length, symbols = grammar.length, grammar.symbols
    evidence = dataset.glyph_evidence(x_t, alpha, sigma)
    scores = dataset.symbol_scores(evidence)
    own = torch.arange(length, device=x_t.device)

    unseen = scores[:, None].repeat(1, length, 1, 1)  # in row j without cell j
    unseen[:, own, own] = 0
    given_others = grammar.marginals(unseen.flatten(0, 1)).reshape(unseen.shape)[:, own, own]
    held = unseen[:, :, None].repeat(1, 1, symbols, 1, 1)  # in row j, v with v in cell j
    certain = one_hot(torch.arange(symbols, device=x_t.device), symbols).to(x_t).log()
    for j in range(length):
        held[:, j, :, j] = certain
    by_symbol = grammar.marginals(held.flatten(0, 2)).reshape(held.shape)[..., region, :]
    # What cannot be has no posterior.
    by_symbol = by_symbol.where(given_others[..., None] > 0, 0.0)

    counts = glyphs.counts.to(x_t)
    log_prior = (given_others / counts).log()[..., None].masked_fill(~glyphs.known, -math.inf)
    parts = dataset.cells(weights)[:, region]
    of_glyph = torch.einsum("nchw,vkchw->nvk", parts.to(x_t), glyphs.images.to(x_t))
    of_symbol = (evidence[:, region].softmax(-1) * of_glyph).sum(-1)
    outputs = torch.einsum("nlvu,nu->nlv", by_symbol, of_symbol)
    outputs = outputs[..., None].repeat(1, 1, 1, glyphs.known.shape[1])
    outputs[:, region] = of_glyph
    posterior = grammar.marginals(scores)[:, region]
    return Conditionals(
        log_prior=log_prior,
        outputs=outputs,
        symbols=by_symbol,
        output=(posterior * of_symbol).sum(-1),
        posterior=posterior,
    )


def effects(
    dataset: SymbolImages,
    x_t: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    weights: Tensor,
    region: int,
    *,
    draws: int,
    random: torch.Generator,
) -> Tensor:
    """Return what marginalising and redrawing each cell changes.

    Args:
        dataset, x_t, alpha, sigma, weights, region: As for `conditionals`.
        draws: How many independent draws `redrawn` is a mean of.
        random: For them.

    Returns:
        (E, N, L) float64, in the order of `EFFECTS`.
    """
    x_t, alpha, sigma = (v.cpu().double() for v in (x_t, alpha, sigma))
    found = conditionals(dataset, x_t, alpha, sigma, weights.cpu().double(), region)
    prior = rearrange(found.log_prior.exp().sum(-1), "n l v -> v n l")

    def change(evidence: Tensor | float) -> Tensor:
        outputs, symbols = found.given(evidence)
        moved = outputs - found.output[:, None], symbols - found.posterior[:, None]
        return torch.cat([moved[0][..., None], moved[1]], -1)

    # E|y| = |E y| + 2 E max(0, -sign(E y) y), and E y is known: only the rest is left to chance.
    mean_change = change(0.0)
    direction = mean_change.sign()
    back = torch.zeros_like(mean_change)
    levels = [v.expand(len(x_t)).repeat(len(prior)) for v in (alpha, sigma)]
    for _ in range(draws):
        # Every symbol has its turn, and all cells of an image have the same glyph and noise: what
        # chance is left hardly changes their order.
        evidence = dataset.glyph_evidence(_redrawn(dataset, random, *levels), *levels)
        by_symbol = change(rearrange(evidence, "(v n) l u k -> v n l u k", n=len(x_t)))
        back += (prior[..., None] * (-direction * by_symbol).clamp(min=0)).sum(0) / draws
    redrawn = mean_change.abs() + 2 * back
    of_output = [moved[..., 0] for moved in (redrawn, mean_change.abs())]
    of_symbol = [moved[..., 1:].sum(-1) / 2 for moved in (redrawn, mean_change.abs())]
    return torch.stack([*of_output, *of_symbol])


def _redrawn(
    dataset: SymbolImages, random: torch.Generator, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return noisy images with symbol v in all cells, which are alike: (V n, C, H, W), v first."""
    symbols, length = dataset.grammar.symbols, dataset.grammar.length
    n = len(alpha) // symbols
    words = torch.arange(symbols).repeat_interleave(n)
    counts = dataset.glyphs.counts[words]
    uniform = torch.rand(n, generator=random).repeat(symbols)
    variants = (uniform * counts).long().clamp(max=counts - 1)
    clean = dataset.glyphs.images[words, variants].double()
    noise = torch.randn(n, *clean.shape[1:], generator=random, dtype=torch.float64)
    signal, spread = (v[:, None, None, None] for v in (alpha, sigma))
    cells = signal * clean + spread * noise.repeat(symbols, 1, 1, 1)
    return dataset.image(cells[:, None].expand(-1, length, -1, -1, -1))


def measure(
    dataset: SymbolImages,
    x_t: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    weights: Tensor,
    region: int,
    maps: dict[str, Tensor],
    product: Tensor,
    *,
    draws: int,
    seed: int,
    sources: Tensor | None = None,
) -> Truth:
    """Put maps of the Bayes denoiser beside the true effects.

    Args:
        dataset, x_t, alpha, sigma, weights, region: As for `conditionals`.
        maps: Method -> (N, L) sum of |map| over each cell.
        product: (N, L), the same of a map of the product denoiser.
        draws: How often each cell is redrawn.
        seed: Of the draws, and of the random maps.
        sources: (N,) the picture that each input was made from, where inputs share one.
    """

    def drawn(block: int) -> Tensor:
        random = generator(seed, "attribution truth", block)
        return effects(dataset, x_t, alpha, sigma, weights, region, draws=draws, random=random)

    true = drawn(0)
    noise = torch.rand(true.shape[1:], generator=generator(seed, "random maps"))
    return Truth(
        methods=tuple(maps),
        cell_sums=torch.stack(list(maps.values())),
        effects=true,
        controls={"effect drawn again": drawn(1)[0], "random map": noise, "product": product},
        size=weights.abs().sum((1, 2, 3)).cpu(),
        region=region,
        draws=draws,
        sources=sources,
    )
