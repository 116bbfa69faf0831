"""Regression on the oracles at every noise level, and averages over levels with their intervals.

Everything is computed from the inner products, summed over pixels, of

    r = D_net − D_product        what the network is beside the local optimum
    a = D_Bayes − D_product      the grammar
    c = D_product                the scale of the output
    b_k = D_k − D_Bayes          what is known of a finite set k of words, the training set first

for N inputs at each of T noise levels. The draws of a level are independent of those of the other
levels. The n-th draws of all levels are one source: what is told over levels is a function of
means over N independent sources, one estimator whose influences count the levels' weights too,
since those are estimated from the same draws.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.intervals import (
    RESOLUTION,
    Interval,
    effective_number,
    from_influence,
    gated,
    mean,
    student,
)

# Rows and columns of the inner products; the sets of words follow.
R, A, C, SETS = 0, 1, 2, 3

# Nats per unit log-SNR below which there is no grammar to use: what float32 leaves is less.
NIL = 1e-5
# Draws in effect, (Σ a²)² / Σ a⁴, below which no interval is told: what rules the value may not be
# among them. Above it intervals cover in simulations of all the worlds of the presets.
FEWEST_IN_EFFECT = 30


@dataclass(frozen=True)
class Products:
    """Inner products of r, a, c and b_k, of N draws at each of T noise levels.

    Attributes:
        gram: (T, N, P, P) float64, P = 3 + number of sets.
        log_snr: (T,).
        steps: (T, 1) what each level counts in an integral over log-SNR.
    """

    gram: Tensor
    log_snr: Tensor
    steps: Tensor

    @classmethod
    def over(cls, gram: Tensor, log_snr: Tensor) -> "Products":
        """Integrate by the trapezoid rule over an increasing `log_snr (T,)`."""
        half = log_snr.diff() / 2
        none = half.new_zeros(1)
        steps = torch.cat([none, half]) + torch.cat([half, none])
        # A single level has no width: what is averaged over levels is what it says.
        return cls(gram, log_snr, (steps if len(half) else steps + 1)[:, None])

    def at(self, levels: Tensor) -> "Products":
        """Return some of the `levels (T,)` bool, each counting what it did."""
        return Products(self.gram[levels], self.log_snr[levels], self.steps[levels])

    @property
    def half_snr(self) -> Tensor:
        """½ snr: (T, 1)."""
        return self.log_snr.exp()[:, None] / 2

    @property
    def weight(self) -> Tensor:
        """½ snr ‖D_product − D_Bayes‖² of each draw: (T, N)."""
        return self.half_snr * self.gram[..., A, A]

    @property
    def from_product(self) -> Tensor:
        """½ snr ‖D_net − D_product‖² of each draw: (T, N)."""
        return self.half_snr * self.gram[..., R, R]

    @property
    def missed(self) -> Tensor:
        """½ snr ‖D_net − D_Bayes‖² of each draw: (T, N)."""
        g = self.gram
        return self.half_snr * (g[..., R, R] - 2 * g[..., R, A] + g[..., A, A])

    def integral(self, density: Tensor) -> Tensor:
        """Integrate `density (T, N)` over log-SNR: (N,)."""
        return (self.steps * density).sum(0)


@dataclass(frozen=True)
class Fit:
    """Least squares at each level, pixels and draws pooled.

    Attributes:
        value: (T, A) coefficients; NaN where an axis has no length.
        influence: (T, N, A) of each draw on them.
        left: (T, N) ‖residual‖² of each draw, corrected in its mean for having been fitted.
    """

    value: Tensor
    influence: Tensor
    left: Tensor


def least_squares(gram: Tensor, axes: list[int]) -> Fit:
    """Regress r on the axes at each level of `gram (T, N, P, P)`."""
    n = gram.shape[1]
    pooled = gram.mean(1)
    squares = pooled.diagonal(dim1=-2, dim2=-1)
    used = squares[:, axes] > 1e-12 * squares.amax(-1, keepdim=True).clamp(min=1e-300)
    # Axes of unit length, so that what is parallel shows whatever the lengths.
    length = squares[:, axes].sqrt().where(used, math.inf)
    both = length[:, :, None] * length[:, None, :]
    inner = gram[:, :, axes][..., axes]
    shared = inner.mean(1)
    inverse = torch.linalg.pinv(shared / both, hermitian=True, rtol=1e-9) / both
    along = gram[:, :, axes, R]
    value = (inverse @ along.mean(1)[..., None])[..., 0]
    slack = along - torch.einsum("tnij,tj->tni", inner, value)
    influence = slack @ inverse
    residual = torch.cat([-value.new_ones(len(value), 1), value], 1)
    columns = [R, *axes]
    left = torch.einsum("tnij,ti,tj->tn", gram[:, :, columns][..., columns], residual, residual)
    # Coefficients fit the noise of their own draws: what is left is too little by as much as
    # their errors would add to fresh draws.
    fitted = torch.einsum("tni,tij,tnj->t", influence, shared, influence) / (n * (n - 1))
    return Fit(
        value=value.where(used, math.nan),
        influence=influence.where(used[:, None], math.nan),
        left=left + fitted[:, None],
    )


def average(value: Tensor, influence: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Average over levels by weights that are estimated from the same draws.

    Args:
        value: (T, …), NaN where it is not defined.
        influence: (T, N, …).
        weight: (T, N) of each draw.

    Returns:
        The average (…), and its influences (N, …); NaN if there is nothing to average.
    """
    extra = value.ndim - 1
    defined = value.isfinite()
    by_draw = weight[(...,) + (None,) * extra] * defined[:, None]
    by_level = by_draw.mean(1)
    total = by_level.sum(0)
    centre = (by_level * value.nan_to_num()).sum(0) / total
    off = (value - centre).nan_to_num()
    change = by_level[:, None] * influence.nan_to_num()
    change = change + (by_draw - by_level[:, None]) * off[:, None]
    return centre, change.sum(0) / total


def averaged(value: Tensor, influence: Tensor, weight: Tensor) -> Interval:
    """Return the average over levels of `value (T,)` with its interval; see `average`."""
    centre, change = average(value, influence, weight)
    return told(centre, change, weight.sum(0))


def told(value: Tensor, influence: Tensor, weight: Tensor, resolution: float = 0.0) -> Interval:
    """Return an interval, unless few of the draws of `weight (…, N)` are in effect."""
    found = from_influence(value, influence, resolution=max(RESOLUTION, resolution))
    return gated(found, effective_number(weight) >= FEWEST_IN_EFFECT)


def missed_along(products: Products, gamma: Tensor, influence: Tensor, exact: float) -> Interval:
    """Return the average over levels of (1 − gamma_t)², by the grammar's weight, times its worth.

    The weight is that of the same draws, and what it is an estimate of is known: the share is a
    ratio, and the nats are that of an exact number.

    Args:
        products: At levels where the grammar's weight is not negligible.
        gamma: (T,), fitted.
        influence: (T, N) on gamma.
        exact: The grammar's total correlation, in nats.
    """
    n = influence.shape[-1]
    # An error of gamma adds its square to (1 − gamma)².
    excess = influence.square().sum(-1) / (n * (n - 1))
    short = 1 - gamma
    weight = products.steps * products.weight
    share, change = average(short.square() - excess, -2 * short[:, None] * influence, weight)
    noise, _ = average(excess, torch.zeros_like(influence), weight)
    # Near the optimum the share is of second order in gamma's errors, which influences do not see.
    found = told(share, change, weight.sum(0), resolution=2 * float(noise))
    return scaled(clamped(found, 0.0, math.inf), exact)


def unexplained(products: Products, left: Tensor) -> tuple[Interval, Tensor]:
    """Return the share of ½ ∫ E‖r‖² dsnr that the regressions leave, and that at each level (T,).

    Coefficients are at the minimum of what is left, so that their own errors change it in second
    order only.

    Args:
        products: At levels where the grammar's weight is not negligible.
        left: (T, N), of a `Fit`.
    """
    left, everything = products.half_snr * left, products.from_product
    # An output that is the product oracle's up to float32 leaves nothing to explain.
    each = (left.mean(1) / everything.mean(1)).where(everything.mean(1) > NIL, math.nan)
    top, bottom = products.integral(left), products.integral(everything)
    scale = bottom.mean()
    share = (top.mean() / scale).where(scale > NIL, math.nan)
    change = (top - share * bottom) / scale
    over = told(share, change - change.mean(), bottom)
    return clamped(over, 0.0, 1.0), each.clamp(0, 1)


def calibrated(value: Tensor, influence: Tensor, weight: Tensor, exact: float | None) -> Interval:
    """Return a number corrected by how far off the grammar's worth is on the same draws.

    What the grammar is worth, the mean of `weight (N,)`, is known to be `exact`. A number whose
    influences grow with it is off by as much as they tell: it is corrected along their regression
    on it (a control variate with estimated coefficient). With `exact` None it is left alone.

    Args:
        value: ().
        influence: (N,).
        weight: (N,).
        exact: In nats.
    """
    if exact is None:
        return told(value, influence, weight)
    off = weight - weight.mean()
    slope = (off @ influence / off.square().sum().clamp(min=1e-300)).nan_to_num()
    corrected = value - slope * (weight.mean() - exact)
    return told(corrected, influence - slope * off, weight)


def nats(values: Tensor, weight: Tensor, exact: float | None) -> Interval:
    """Return the mean of `values (N,)` in nats; see `calibrated`."""
    centre = values.mean()
    return clamped(calibrated(centre, values - centre, weight, exact), 0.0, math.inf)


def beside_placebos(
    value: Tensor, influence: Tensor, weight: Tensor
) -> tuple[Interval, Interval, Interval]:
    """Compare the coefficient of the training set with those of K placebo sets.

    A denoiser that was made without knowing which set is the training set makes the K + 1
    coefficients exchangeable, given the inputs: the training set's is one more draw of what the
    placebos' are drawn from, and with s² the variance over the placebos

        mu − mean of the placebos' = 0 ± t(K − 1) s sqrt(1 + 1/K).

    s holds what inputs do to each set's coefficient; what they do to all alike cancels. Where the
    training set is recalled, inputs may move its coefficient more than they move a placebo's: with
    e the standard error over inputs of the difference, the error told is the larger of
    s sqrt(1 + 1/K) and sqrt(e² + s²/K).

    Args:
        value: (…, 1 + K), the training set's first.
        influence: (N, …, 1 + K).
        weight: (N, …), of the draws.

    Returns:
        The difference, the training set's coefficient, and the placebos' mean: (…). The n of the
        first and last is K.
    """
    k = value.shape[-1] - 1
    influence = influence.movedim(0, -1)  # (…, 1 + K, N)
    raw = told(value[..., 0], influence[..., 0, :], weight.movedim(0, -1))
    centre = value[..., 1:].mean(-1)
    spread = value[..., 1:].var(-1)
    over_inputs = mean(influence[..., 0, :] - influence[..., 1:, :].mean(-2))
    error = torch.maximum(
        spread * (1 + 1 / k), spread / k + over_inputs.standard_error.square()
    ).sqrt()
    sets = torch.full_like(raw.n, k)
    quantile = student(sets - 1)

    def around(value: Tensor, error: Tensor) -> Interval:
        half = (quantile * error).clamp(min=RESOLUTION)
        found = Interval(value, error, value - half, value + half, sets)
        return gated(found, raw.standard_error.isfinite())

    return around(value[..., 0] - centre, error), raw, around(centre, (spread / k).sqrt())


def clamped(found: Interval, least: float, most: float) -> Interval:
    """Return `found` within the range of what it is a number of."""
    ends = {
        name: getattr(found, name)
        .clamp(least, most)
        .where(getattr(found, name).isfinite(), math.nan)
        for name in ("value", "low", "high")
    }
    return Interval(standard_error=found.standard_error, n=found.n, **ends)


def scaled(found: Interval, factor: float) -> Interval:
    """Return `found` in other units: times a positive number that is known exactly."""
    return Interval(
        value=found.value * factor,
        standard_error=found.standard_error * factor,
        low=found.low * factor,
        high=found.high * factor,
        n=found.n,
    )
