"""How samples were made, by verdict: hallucinated ones beside correct ones.

Of each legible sample, at its own x_t on the level where the grammar is worth most,

    ldr, bayes_ldr      sum_i B_ii / sum_ij B_ij, of the denoiser and of the Bayes oracle at the
                        same x_t, with the same projections; see `diffprobe.probing.ratio`
    excess_ldr          the first less the second

and along its path, over the steps where the grammar lives,

    to_product_nats     ½ snr ‖D_net − D_product‖², mean over the steps, per unit log-SNR
    to_bayes_nats       ½ snr ‖D_net − D_Bayes‖²
    symbol_entropy      of the soft reading of x0_hat, over the noisy steps: how sure it is early
    gamma               sum ½ snr <D_net − D_product, a> / sum ½ snr ‖a‖² over steps and samples,
                        a = D_Bayes − D_product: 0 for the product oracle, 1 for the Bayes oracle

Each is told of the valid and of the invalid ones, and the difference, invalid less valid, with
intervals over samples, which are independent. Samples at which the oracle depends on nothing have
no ratio. Fewer than `FEWEST` samples of a verdict tell no interval, and the oracle's own LDR tells
none: where nearly all samples agree, what few projections leave of its bias is as large as the
interval would be (it covered 79 % on brackets); in the excess it cancels.

Inputs are those that the denoiser made itself, not noisy images of valid words: a local network
that is not the product oracle need not have gamma 0 on them, and one whose errors happen to lie
along the axis ends valid more often. The Bayes oracle's own LDR may differ
between the verdicts, for it looks far where a word is not decided yet: hence the excess, and as a
control the same of samples of the product oracle, whose LDR is 1 whatever comes of a sample.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from diffprobe.foundations import intervals
from diffprobe.foundations.intervals import RESOLUTION, Interval, effective_number, gated
from diffprobe.foundations.ranks import FEWEST
from diffprobe.probing.ratio import local_dependency_ratios

# Name -> the same in words.
QUANTITIES = {
    "ldr": "LDR",
    "bayes_ldr": "LDR of the Bayes optimum",
    "excess_ldr": "excess LDR",
    "gamma": "gamma",
    "to_product_nats": "nats to the product oracle",
    "to_bayes_nats": "nats to the Bayes oracle",
    "symbol_entropy": "symbol entropy in nats",
}


def each_sample(
    energies: Tensor,
    bayes_energies: Tensor,
    to_product: Tensor,
    to_bayes: Tensor,
    worth: Tensor,
    entropy: Tensor,
) -> dict[str, Tensor]:
    """Return what is averaged, of each sample: (N,) float64 each.

    Args:
        energies, bayes_energies: (N, P, R, S), of the denoiser and the oracle at the same x_t.
        to_product, to_bayes, worth: (N,) ½ snr ‖·‖² of D_net − D_product, D_net − D_Bayes and
            D_Bayes − D_product, mean over the steps.
        entropy: (N,) symbol entropy.

    Returns:
        `QUANTITIES` but gamma, and the parts of its ratio, "along_axis" and "axis".
    """
    ldr, bayes = (local_dependency_ratios(e) for e in (energies, bayes_energies))
    ldr = ldr.where(bayes.isfinite(), math.nan)
    to_product, to_bayes, worth = (x.cpu().double() for x in (to_product, to_bayes, worth))
    return {
        "ldr": ldr,
        "bayes_ldr": bayes,
        "excess_ldr": ldr - bayes,
        "to_product_nats": to_product,
        "to_bayes_nats": to_bayes,
        "symbol_entropy": entropy.cpu().double(),
        # <r, a> from ‖r‖², ‖r − a‖² and ‖a‖².
        "along_axis": (to_product + worth - to_bayes) / 2,
        "axis": worth,
    }


def compare(
    each: Mapping[str, Tensor], valid: Tensor, invalid: Tensor
) -> dict[str, dict[str, Interval]]:
    """Compare the samples of the two verdicts.

    Args:
        each: Of `each_sample`.
        valid, invalid: (N,) bool; what is in neither says nothing.

    Returns:
        Quantity -> "valid", "invalid" and "difference", invalid less valid: () each.
    """
    found = {}
    for name in QUANTITIES:
        right, wrong = (among(each, name, chosen) for chosen in (valid, invalid))
        difference = intervals.difference(wrong, right)
        found[name] = {"valid": right, "invalid": wrong, "difference": difference}
    return found


def among(each: Mapping[str, Tensor], name: str, chosen: Tensor) -> Interval:
    """Return one of `QUANTITIES` over the samples that are `chosen (N,)`: ()."""
    if name == "gamma":
        along, axis = each["along_axis"][chosen], each["axis"][chosen]
        gamma = along.sum() / axis.sum()
        influence = (along - gamma * axis) / axis.mean()
        found = intervals.from_influence(gamma, influence, resolution=RESOLUTION)
        return gated(found, effective_number(axis) >= FEWEST)
    resolution = RESOLUTION if name.endswith("ldr") else 0.0
    found = intervals.mean(each[name][chosen], resolution=resolution)
    return gated(found, (found.n >= FEWEST) & (name != "bayes_ldr"))
