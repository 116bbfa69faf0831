"""Estimates of how far samples are from a language, without the bias of plug-in estimators.

Three kinds of distance cover what is asked of words.

*Squared distances between mean features.* With features phi of a word and the reference mean mu,

    tau = ‖E phi − mu‖²,    U = (n² ‖mean phi − mu‖² − sum_i ‖phi_i − mu‖²) / (n (n − 1)),

U being unbiased at any n. With Sigma the covariance of phi,

    Var U = 4 rho tau / n + 2 tr(Sigma²) / (n (n − 1)),    rho = deltaᵀ Sigma delta / ‖delta‖²,

and its interval holds every tau that this variance cannot reject, as Wilson's does for a rate:
it neither collapses nor swells where tau is 0. It is wider than need be only where Sigma is
nearly blind to delta, so that rho is mostly chance. Estimates are not clamped: below 0 they say
that there is less to see than chance alone shows on average.

*Entropies* without the bias of their plug-in, where each word that occurs has been seen often.

*Total variation*, bounded from below by the words that one half of the samples has too often,
counted in the other half.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.statistics import Z95, wilson

SEEN = 12  # samples for each distinct word without which no entropy is told


@dataclass(frozen=True, kw_only=True, repr=False)
class WordStatistic(Estimate):
    """A number that words have, beside what it would be in the language and with nothing to find.

    Attributes:
        value: None where it cannot be told; then the interval is all that is known.
        n: Words it rests on.
        language: What exact sampling of the language would give, on average.
        floor: Central 95 % of the estimates from n words in which there is nothing to find.
    """

    low: float
    high: float
    language: float | None = None
    floor: tuple[float, float] | None = None

    def root(self) -> "WordStatistic":
        """Return the square root of a squared distance; what is below 0 becomes 0.

        >>> WordStatistic(value=0.04, low=-0.01, high=0.09, n=10, language=0.0).root().high
        0.3
        """
        return WordStatistic(
            value=None if self.value is None else _root(self.value),
            low=_root(self.low),
            high=_root(self.high),
            n=self.n,
            language=None if self.language is None else _root(self.language),
            floor=self.floor and (_root(self.floor[0]), _root(self.floor[1])),
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the fields as one row, the ends of the floor apart."""
        (row,) = super().rows()
        low, high = row.pop("floor") or (None, None)
        return [{**row, "floor_low": low, "floor_high": high}]

    def __str__(self) -> str:
        value = "undefined" if self.value is None else digits(self.value)
        text = f"{value} (95 % interval {digits(self.low)} to {digits(self.high)}, n = {self.n:,}"
        if self.language is not None:
            text += f"; language {digits(self.language)}"
        if self.floor is not None:
            text += f"; noise floor {digits(self.floor[0])} to {digits(self.floor[1])}"
        return text + ")"


def squared_distance(
    projections: Tensor, norm: float, spread: float, language: float, null_spread: float
) -> WordStatistic:
    """Estimate tau = ‖E phi − mu‖² without bias.

    Args:
        projections: (n,) <phi_i − mu, mean phi − mu>.
        norm: Mean of ‖phi_i − mu‖².
        spread: tr(Sigma²) of the samples, as `spread` estimates it.
        language: tau of the language.
        null_spread: tr(Sigma²) where there is nothing to find; sets the noise floor.

    Reference:
        Serfling, "Approximation theorems of mathematical statistics", 1980, section 5.2;
        Gretton et al., "A kernel two-sample test", 2012, for U as a squared mean discrepancy.
    """
    n = len(projections)
    plug_in = float(projections.mean())
    value = (n * plug_in - norm) / (n - 1)
    rho = float(projections.var(correction=0)) / plug_in if plug_in > 0 else 0.0
    pairs = n * (n - 1)
    low, high = score_interval(value, 4 * rho / n, 2 * spread / pairs)
    edge = Z95 * math.sqrt(2 * null_spread / pairs)
    return WordStatistic(
        value=value, low=low, high=high, n=n, language=language, floor=(-edge, edge)
    )


def score_interval(value: float, slope: float, constant: float) -> tuple[float, float]:
    """Return all tau with (value − tau)² <= z² (slope · tau + constant): the ends at 95 %."""
    square = Z95 * Z95
    centre = value + square * slope / 2
    margin = math.sqrt(max(0.0, centre * centre - value * value + square * constant))
    return centre - margin, centre + margin


def spread(gram: Tensor) -> float:
    """Estimate tr(Sigma²) without bias from inner products of m independent features.

    Args:
        gram: (m, m) <phi_i, phi_j>, m at least 4.

    Reference:
        Chen & Qin, "A two-sample test for high-dimensional data", 2010; the U-statistic of
        G_12² − 2 G_12 G_23 + G_12 G_34.
    """
    m = len(gram)
    # Less what all have in common, which cancels but would cost digits.
    g = gram.double() - gram.double().mean()
    g.fill_diagonal_(0)
    pairs, rows = float(g.square().sum()), g.sum(1)
    chains = float(rows.square().sum()) - pairs
    disjoint = float(rows.sum()) ** 2 - 2 * pairs - 4 * chains
    found = pairs / math.perm(m, 2) - 2 * chains / math.perm(m, 3) + disjoint / math.perm(m, 4)
    return max(0.0, found)


def relative_entropy(
    counts: Tensor, log_reference: Tensor, language: float | None, support: int | None = None
) -> WordStatistic:
    """Estimate KL(p ‖ q) = E_p log(p / q) in nats from how often each word occurs.

        sum_w p̂ (psi(c) − psi(n) − log q),    Var = rho KL / n + (D − 1) / 2n²,

    with c the counts, D the words that occur, psi the digamma function, and
    rho = Var_p̂(log(p̂ / q)) / KL(p̂ ‖ q), which is 2 near q. Its bias shrinks exponentially as words
    are seen more often; with fewer than 12 samples for each word that occurs, only the upper end is
    told, for the plug-in is biased upwards. The interval is wider than need be where p / q takes
    few values only, such as 0 and 2, and covers 92 % where many words are very rare.

    Args:
        counts: (D,) positive.
        log_reference: (D,) log q of these words.
        language: Its value for the language.
        support: Words that q gives any probability; sets the noise floor about 0.

    Reference:
        Zhang, "Entropy estimation in Turing's perspective", 2012; the second part of the variance
        is that of a chi² with D − 1 degrees of freedom, over 2n.
    """
    n = int(counts.sum())
    if n == 0:
        return WordStatistic(value=None, low=0.0, high=math.inf, n=0, language=language)
    p = counts.double() / n
    log_ratio = p.log() - log_reference.double()
    plug_in = float(p @ log_ratio)
    variance = float(p @ (log_ratio - plug_in).square())
    degrees = len(counts) - 1
    if n < SEEN * len(counts):
        high = plug_in + Z95 * math.sqrt(variance / n + degrees / (2 * n * n))
        return WordStatistic(value=None, low=0.0, high=high, n=n, language=language)
    unbiased = counts.double().digamma() - torch.tensor(float(n)).double().digamma()
    value = float(p @ (unbiased - log_reference.double()))
    rho = variance / plug_in if plug_in > 0 else 0.0
    low, high = score_interval(value, rho / n, degrees / (2 * n * n))
    edge = None if support is None else Z95 * math.sqrt((support - 1) / 2) / n
    floor = None if edge is None else (-edge, edge)
    return WordStatistic(value=value, low=low, high=high, n=n, language=language, floor=floor)


def effective_words(counts: Tensor, words: int, collision: float, third: float) -> WordStatistic:
    """Estimate the effective number of words 1 / sum_w p_w², from pairs of equal samples.

    That many equally likely words would collide as often. It can be told from a sample of about
    the square root of their number, where no entropy can. Without a collision only `low` is known.
    With K words in the language and u = 1 / K,

        tau = sum_w c (c − 1) / (n (n − 1)) − u,    Var = 4 rho tau / n + 2 (1 − u) (tau + u) / n²,

    which is the squared distance from the uniform distribution, the second part that of pairs that
    collide by chance.

    Args:
        counts: (D,) positive, of valid words.
        words: K.
        collision: sum_w q_w² of the language.
        third: sum_w q_w³ of the language.

    Reference:
        Arora & Zhang, "Do GANs actually learn the distribution?", arXiv:1706.08224.
    """
    n, u = int(counts.sum()), 1 / words
    if n < 2:
        return WordStatistic(value=None, low=1.0, high=float(words), n=n, language=1 / collision)
    c = counts.double()
    value = float((c * (c - 1)).sum()) / math.perm(n, 2)
    share = c / n
    plug_in = float(share @ share)
    rho = float(share @ (share - plug_in).square()) / (plug_in - u) if plug_in > u else 0.0
    chance = 2 * (1 - u) / n**2
    low, high = (tau + u for tau in score_interval(value - u, 4 * rho / n + chance, chance * u))
    edge = Z95 * math.sqrt(4 * max(0.0, third - collision**2) / n + chance * collision)
    floor = (1 / (collision + edge), 1 / (collision - edge) if collision > edge else math.inf)
    return WordStatistic(
        value=1 / value if value else None,
        low=1 / high,
        high=1 / low if value and low > 0 else math.inf,
        n=n,
        language=1 / collision,
        floor=floor,
    )


def total_variation(halves: Tensor, reference: Tensor) -> WordStatistic:
    """Bound TV(p, q) = max over sets A of p(A) − q(A) from below.

    A holds the words that q cannot give, and those that one half of the samples has too often; p(A)
    is counted in the other half, which knows nothing of the choice. The interval is that of the
    bound, which is close to TV itself where words are seen often, and never above it but for the
    noise.

    Args:
        halves: (2, D) counts of each distinct word in the halves.
        reference: (D,) q of these words.
    """
    chosen = (halves[0] / halves[0].sum() > reference) | (reference == 0)
    found = wilson(int(halves[1][chosen].sum()), int(halves[1].sum()))
    expected = float(reference[chosen].sum())
    edge = Z95 * math.sqrt(expected * max(0.0, 1 - expected) / found.n)
    return WordStatistic(
        value=found.count / found.n - expected,
        low=found.low - expected,
        high=found.high - expected,
        n=found.n,
        floor=(-edge, edge),
    )


def expected_distinct(probabilities: Tensor, words: Tensor, n: int) -> tuple[float, float]:
    """Return how many distinct words n draws show: the mean and the standard deviation.

        mean = sum_w 1 − (1 − q_w)^n,    Var = sum_w e_w (1 − e_w) − n (sum_w q_w e_w)²

    with e_w = exp(−n q_w), as for the coupon collector with unequal coupons.

    Args:
        probabilities: (M,) q of a word of each kind.
        words: (M,) how many words of this kind are looked for.
        n: Draws of the whole language.

    Reference:
        Holst, "On birthday, collectors', occupancy and other classical urn problems", 1986.
    """
    q, words = probabilities.double().clamp(max=1 - 1e-15), words.double()
    log_missed = n * torch.log1p(-q)
    missed = log_missed.exp()
    mean = float(words @ -torch.expm1(log_missed))
    variance = float(words @ (missed * (1 - missed))) - n * float(words @ (q * missed)) ** 2
    return mean, math.sqrt(max(0.0, variance))


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square))


def digits(value: float) -> str:
    """Return a number in four digits.

    >>> digits(0.12345), digits(23456.7), digits(2.4e26)
    ('0.1235', '23,457', '2.4e+26')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
