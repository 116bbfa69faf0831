"""Where a network stands among the oracles: how much of the grammar it uses, what it recalls.

At each noise level the network's output is regressed on the oracles, in expectation over x_t,

    D_net ≈ (1 + s) D_product + gamma (D_Bayes − D_product),

gamma 0 for a denoiser that sees its own cell alone, 1 for the optimum. The first is a theorem: for
any function g of the own cell, E[(D_Bayes − D_product)_i g(x_i)] = 0, since
E[D_Bayes,i | x_i] = E[x_0,i | x_i] = D_product,i by the tower rule. With g = D_product the scale
1 + s, 1 where the output is as large as it should be, changes gamma in expectation by nothing: it
takes the noise of an output of the wrong size away.

The difference D_S − D_Bayes to the optimum of a finite set S of words has no such property: a
denoiser that knows neither rule nor set has a coefficient on it,

    D_net ≈ (1 + s) D_product + gamma' (D_Bayes − D_product) + mu_S (D_S − D_Bayes).

It has the same on other sets drawn alike. What is told is mu of the training set minus the mean mu
of K placebo sets: 0 for a denoiser that knows no training set, near 1 for one that recalls it.

The weight per unit log-SNR, ½ snr E‖D_product − D_Bayes‖², says where on the noise axis the grammar
lives; its integral is the grammar's total correlation (I-MMSE: Guo, Shamai & Verdú,
arXiv:cs/0412108). Where it is negligible gamma is not defined. What the network misses,

    ½ ∫ E‖D_net − D_Bayes‖² dsnr   in nats,

is a relative entropy only if the network's output is the posterior mean of some prior: then it is
that of the true images to that prior (Verdú, "Mismatched estimation and relative entropy", IEEE
Trans. Inf. Theory 56, 2010). The oracles are such; a network need not be. For any other output it
is the relative entropy between the paths of the two reverse diffusions, hence a bound on that
between the images they end in (Song et al., arXiv:2101.09258, theorem 1): a path bound. It
depends on how far the schedule goes: errors in hardly any noise count with the SNR. Its part along
the axis D_Bayes − D_product, E[weight (1 − gamma_t)²], does not.

½ ∫ E‖D_net − D_product‖² dsnr is how far the network is from the product oracle: whether it
*becomes* the product oracle is a question to this number, not to gamma.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Stream, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.measurements import Measurement
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.placement import PlacementConfig
from diffprobe.probes.placement.draws import (
    NEGLIGIBLE,
    inner_products,
    levels_with_grammar,
    oracles_of_sets,
)
from diffprobe.probes.placement.regression import (
    NIL,
    SETS,
    A,
    C,
    Products,
    average,
    averaged,
    beside_placebos,
    least_squares,
    missed_along,
    nats,
    told,
    unexplained,
)
from diffprobe.probing.noise_levels import spread_levels

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


@dataclass(frozen=True, repr=False)
class Placement(Measurement):
    """A network's place among the oracles at T noise levels, from N draws at each.

    Averages over levels are by the grammar's weight. Intervals cover the draws of words and noise;
    those of mu and its placebos' mean the draws of sets of words too.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        gamma: (T,) share of the grammar used; NaN where the grammar's weight is negligible.
        mu: (T,) coefficient of the training set minus the placebos' mean; NaN without a training
            set, and where the grammar's weight is negligible.
        scale: (T,) size of the output beside the product oracle's, 1 + s.
        unexplained: (T,) share of E‖D_net − D_product‖² that gamma and scale leave; NaN where the
            grammar's weight is negligible or in the hands of few draws.
        weight: (T,) ½ snr E‖D_product − D_Bayes‖², nats per unit log-SNR the grammar is worth.
        memory_weight: (T,) ½ snr E‖D_training − D_Bayes‖², the same for the training set; NaN
            where mu is.
        missed: (T,) ½ snr E‖D_net − D_Bayes‖², nats per unit log-SNR.
        total_correlation: Of the grammar, in nats.
        mean_gamma, mean_scale: Over noise levels.
        mean_mu: Over noise levels, the difference to the placebos; None without a training set, or
            if fewer than two other sets can be drawn. Its n is the number of placebos.
        mean_mu_raw: The training set's coefficient alone, which proves nothing; or None.
        mean_mu_placebo: The placebos' mean, what mu is without any knowledge; or None.
        mean_unexplained: The unexplained share of ½ ∫ E‖D_net − D_product‖² dsnr, over the levels
            where it is told.
        grammar_nats: ½ ∫ E‖D_product − D_Bayes‖² dsnr, as these draws and levels have it.
        missed_nats: ½ ∫ E‖D_net − D_Bayes‖² dsnr over the levels: a relative entropy, or a path
            bound; see the module.
        missed_along_nats: The part of it along the axis from product to Bayes: the share of the
            weight missed, of the total correlation.
        to_product_nats: ½ ∫ E‖D_net − D_product‖² dsnr over the levels.
        undefined: Why gamma is defined nowhere; empty where it is.
        settings: Inputs and seed.
    """

    t: Tensor
    log_snr: Tensor
    gamma: Interval
    mu: Interval
    scale: Tensor
    unexplained: Tensor
    weight: Tensor
    memory_weight: Tensor
    missed: Tensor
    total_correlation: float
    mean_gamma: Interval
    mean_scale: Interval
    mean_mu: Interval | None
    mean_mu_raw: Interval | None
    mean_mu_placebo: Interval | None
    mean_unexplained: Interval
    grammar_nats: Interval
    missed_nats: Interval
    missed_along_nats: Interval
    to_product_nats: Interval
    undefined: str
    settings: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return the numbers over all noise levels."""

        def known(found: Interval | None) -> dict[str, Any] | None:
            return None if found is None else estimate(found)

        return {
            "gamma": estimate(self.mean_gamma),
            "scale": estimate(self.mean_scale),
            "mu": known(self.mean_mu),
            "mu_raw": known(self.mean_mu_raw),
            "mu_placebo": known(self.mean_mu_placebo),
            "unexplained": estimate(self.mean_unexplained),
            "grammar_nats": estimate(self.grammar_nats),
            "total_correlation_nats": self.total_correlation,
            "missed_nats": estimate(self.missed_nats),
            "missed_along_nats": estimate(self.missed_along_nats),
            "to_product_nats": estimate(self.to_product_nats),
            "undefined": self.undefined,
        }


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    settings: PlacementConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    stream: Stream | None = None,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> Placement:
    """Place a denoiser among the oracles on noisy images of valid words.

    Args:
        denoiser: A network, or an oracle.
        dataset: Whose grammar and glyphs the oracles know.
        settings: `images` draws a level, `levels`, `placebos`.
        common: `batch_size`, `seed`.
        stream: What training saw; without one, or where that is not a finite set of valid words,
            mu is None.
        levels: (T,) timesteps, noisiest first, instead of spread ones. Nats are then those of
            these levels, but for `missed_along_nats`, a share of all that the grammar is worth.
        progress: Called as tqdm is.
    """
    settings, common = settings or PlacementConfig(), common or ProbeConfig()
    sets = oracles_of_sets(dataset, denoiser, stream, settings.placebos)
    whole = levels is None
    levels = spread_levels(denoiser, settings.levels) if levels is None else levels
    log_snr = denoiser.log_snr(levels).cpu()
    exact = dataset.grammar.total_correlation()
    known, even = levels_with_grammar(denoiser, dataset, levels)
    # Other sets of words are asked where mu is told alone: there are many of them.
    grams = [
        inner_products(denoiser, dataset, settings.images, common, t, sets if wanted else [])
        for t, wanted in zip(
            progress(levels.tolist(), desc="placement", unit="level"), known, strict=True
        )
    ]
    kept = {
        "images": settings.images,
        "seed": common.seed,
        "negligible_weight": NEGLIGIBLE,
        "placebos": max(0, len(sets) - 1),
    }
    return place(levels, log_snr, grams, known, even, exact, whole=whole, settings=kept)


def place_subject(
    settings: PlacementConfig, subject: "Subject", keep: "Keep", levels: Tensor | None = None
) -> dict[str, Placement]:
    """Place a subject's network, at all noise levels or at some; see `measure`.

    Raises:
        UsageError: If no grammar is known.
    """
    dataset = subject.dataset
    if dataset is None:
        raise UsageError("placement needs a dataset: without a grammar there is no optimum")
    compute = partial(
        measure,
        subject.denoiser,
        dataset,
        settings,
        subject.config.probe,
        stream=subject.config.stream.build(dataset.grammar),
        levels=levels,
        progress=subject.progress,
    )
    return {"network": keep("network", Placement, compute)}


def place(
    t: Tensor,
    log_snr: Tensor,
    grams: Sequence[Tensor],
    known: Tensor,
    even: Tensor,
    exact: float,
    *,
    whole: bool,
    settings: dict[str, Any],
) -> Placement:
    """Return the placement that inner products tell.

    Args:
        t, log_snr: (T,).
        grams: (N, 3 + K, 3 + K) at each level, of `inner_products`; K may be 0.
        known, even: (T,) bool, of `levels_with_grammar`.
        exact: The grammar's total correlation, in nats.
        whole: Whether the levels cover the whole axis, where that is what the grammar is worth.
        settings: Kept.
    """
    all_levels = Products.over(torch.stack([g[:, :SETS, :SETS] for g in grams]), log_snr)
    products = all_levels.at(known)
    weight = products.steps * products.weight
    fit = least_squares(products.gram, [A, C])
    gamma, scale = fit.value.unbind(-1)
    on_gamma, on_scale = fit.influence.unbind(-1)
    unexplained_over, unexplained_each = unexplained(all_levels.at(even), fit.left[even[known]])
    of_sets = [g for g, wanted in zip(grams, known, strict=True) if wanted and g.shape[-1] > SETS]
    mu = _recalled(replace(products, gram=torch.stack(of_sets))) if of_sets else None
    worth = all_levels.integral(all_levels.weight)
    control = exact if whole and known.any() else None
    missed = all_levels.integral(all_levels.missed)
    from_product = all_levels.integral(all_levels.from_product)
    return Placement(
        t=t,
        log_snr=log_snr,
        gamma=_spread(told(gamma, on_gamma, products.weight), known),
        mu=_spread(mu[3], known) if mu else _undefined(known),
        scale=_placed(1 + scale, known),
        unexplained=_placed(unexplained_each, even),
        weight=all_levels.weight.mean(1),
        memory_weight=(
            _placed(products.half_snr[:, 0] * torch.stack(of_sets)[..., SETS, SETS].mean(1), known)
            if of_sets
            else torch.full_like(log_snr, math.nan)
        ),
        missed=all_levels.missed.mean(1),
        total_correlation=exact,
        mean_gamma=averaged(gamma, on_gamma, weight),
        mean_scale=averaged(1 + scale, on_scale, weight),
        mean_mu=mu[0] if mu else None,
        mean_mu_raw=mu[1] if mu else None,
        mean_mu_placebo=mu[2] if mu else None,
        mean_unexplained=unexplained_over,
        grammar_nats=nats(worth, worth, None),
        missed_nats=nats(missed, worth, control),
        missed_along_nats=missed_along(products, gamma, on_gamma, exact),
        to_product_nats=nats(from_product, worth, control),
        undefined="" if known.any() else _why_undefined(exact),
        settings=settings,
    )


def _why_undefined(exact: float) -> str:
    if exact < NIL:
        return "the symbols of a word are independent, there is no grammar to use"
    return f"the grammar is worth less than {NIL:g} nats per unit log-SNR at these noise levels"


def _recalled(products: Products) -> tuple[Interval, Interval, Interval, Interval]:
    """Return mu above the placebos, alone, and the placebos' over levels; and mu at each level."""
    columns = range(SETS, products.gram.shape[-1])
    fits = [least_squares(products.gram, [A, C, column]) for column in columns]
    value = torch.stack([f.value[:, -1] for f in fits], -1)  # (T, 1 + K)
    influence = torch.stack([f.influence[..., -1] for f in fits], -1)  # (T, N, 1 + K)
    # By the grammar's weight as well: that of the training set grows without bound at low noise,
    # where a held-out word is impossible for the empirical oracle.
    weight = products.steps * products.weight
    over = beside_placebos(*average(value, influence, weight), weight.sum(0))
    each, *_ = beside_placebos(value, influence.movedim(1, 0), products.weight.T)
    return *over, each


def _placed(values: Tensor, known: Tensor) -> Tensor:
    """Put values at the levels that are known (T,), and NaN at the others."""
    everywhere = torch.full(known.shape, math.nan, dtype=torch.float64)
    everywhere[known] = values
    return everywhere


def _spread(found: Interval, known: Tensor) -> Interval:
    """Put numbers at the levels that are known (T,), and NaN at the others."""
    n = torch.zeros(known.shape, dtype=torch.long)
    n[known] = found.n
    return Interval(
        value=_placed(found.value, known),
        standard_error=_placed(found.standard_error, known),
        low=_placed(found.low, known),
        high=_placed(found.high, known),
        n=n,
    )


def _undefined(known: Tensor) -> Interval:
    nothing = torch.full(known.shape, math.nan, dtype=torch.float64)
    return Interval(nothing, nothing, nothing, nothing, torch.zeros(known.shape, dtype=torch.long))
