"""Where a network stands among the oracles: how much of the grammar it uses, what it recalls.

At each noise level the network's output is regressed on the oracles, in expectation over x_t,

    D_net ≈ D_product + gamma (D_Bayes − D_product) + mu (D_empirical − D_Bayes),

gamma 0 for a local denoiser and 1 for the optimum, mu 1 for one that recalls its training set.
The weight per unit log-SNR, ½ snr E‖D_product − D_Bayes‖², says where on the noise axis the grammar
lives; its integral is the grammar's total correlation (I-MMSE: Guo, Shamai & Verdú,
arXiv:cs/0412108). Where it is negligible gamma is not defined. What the network misses,

    ½ ∫ E‖D_net − D_Bayes‖² dsnr   in nats,

is split into its part along the axis D_Bayes − D_product and the rest.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.figures import COLORS, figure
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.noise_levels import noisy_inputs, spread_levels
from diffprobe.probes.ratio import standard_error
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate, interval

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = ("placement_images", "placement_levels", "batch_size", "seed")

# Levels with less than this share of the largest weight say nothing about gamma.
NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class Placement:
    """A network's place among the oracles at T noise levels, from N inputs.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        gamma, gamma_error: (T,) share of the grammar used and its standard error; NaN where the
            weight is negligible.
        mu, mu_error: (T,) share of the training set recalled; NaN without an empirical oracle,
            where it equals the Bayes oracle, or where the grammar's weight is negligible.
        unexplained, unexplained_error: (T,) share of E‖D_net − D_product‖² that the regression
            leaves, and its standard error.
        weight: (T,) ½ snr E‖D_product − D_Bayes‖², nats per unit log-SNR the grammar is worth.
        memory_weight: (T,) ½ snr E‖D_empirical − D_Bayes‖², the same for the training set.
        missed: (T,) ½ snr E‖D_net − D_Bayes‖², nats per unit log-SNR.
        missed_along: (T,) its part along the axis from product to Bayes.
        total_correlation: Of the grammar, in nats.
        mean_gamma: Gamma averaged over noise levels by weight, and its standard error.
        mean_mu: Mu likewise; None without an empirical oracle.
        mean_unexplained: The unexplained share likewise.
        grammar_nats: ½ ∫ E‖D_product − D_Bayes‖² dsnr and its standard error.
        missed_nats: ½ ∫ E‖D_net − D_Bayes‖² dsnr and its standard error.
        missed_along_nats: The part of it along the axis from product to Bayes, and its standard
            error.
        settings: Inputs and seed.
    """

    t: Tensor
    log_snr: Tensor
    gamma: Tensor
    gamma_error: Tensor
    mu: Tensor
    mu_error: Tensor
    unexplained: Tensor
    unexplained_error: Tensor
    weight: Tensor
    memory_weight: Tensor
    missed: Tensor
    missed_along: Tensor
    total_correlation: float
    mean_gamma: tuple[float, float]
    mean_mu: tuple[float, float] | None
    mean_unexplained: tuple[float, float]
    grammar_nats: tuple[float, float]
    missed_nats: tuple[float, float]
    missed_along_nats: tuple[float, float]
    settings: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return the numbers over all noise levels."""
        return {
            "gamma": estimate(*self.mean_gamma),
            "mu": estimate(*self.mean_mu) if self.mean_mu else None,
            "unexplained": estimate(*self.mean_unexplained),
            "grammar_nats": estimate(*self.grammar_nats),
            "total_correlation_nats": self.total_correlation,
            "missed_nats": estimate(*self.missed_nats),
            "missed_along_nats": estimate(*self.missed_along_nats),
        }


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    empirical: Denoiser | None = None,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> Placement:
    """Place a denoiser among the oracles on noisy images of valid words.

    Args:
        denoiser: A network, or an oracle.
        dataset: Whose grammar and glyphs the oracles know.
        config: `placement_images` inputs a level, `placement_levels`, `batch_size`, `seed`.
        empirical: The oracle of the finite training set, if there is one.
        levels: (T,) timesteps instead of spread ones.
        progress: Called as tqdm is.
    """
    config = config or ProbeConfig()
    n = config.placement_images
    if n < 3:
        raise UsageError(f"probe.placement_images must be at least 3 for an error, not {n}")
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    product = ProductDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    levels = spread_levels(denoiser, config.placement_levels) if levels is None else levels
    log_snr = denoiser.log_snr(levels).cpu()
    regressions = []
    for t in progress(levels.tolist(), desc="placement", unit="level"):
        x_t = noisy_inputs(denoiser, dataset, n, t, config.seed)
        products = [
            _inner_products(batch, t, denoiser, product, bayes, empirical)
            for batch in x_t.split(config.batch_size)
        ]
        regressions.append(_Regression.fit(torch.cat(products).cpu()))
    half_snr = log_snr.exp() / 2
    weight, weight_by_input = _density(half_snr, [r.gram[:, 1, 1] for r in regressions])
    missed, missed_by_input = _density(half_snr, [r.missed for r in regressions])
    memory_weight, _ = _density(half_snr, [r.gram[:, 2, 2] for r in regressions])
    along_by_input = half_snr[:, None] * torch.stack([r.missed_along for r in regressions])
    gamma, gamma_influence = _coefficient(regressions, 0, weight)
    # By the grammar's weight as well: that of the training set grows without bound at low noise,
    # where a held-out word is impossible for the empirical oracle.
    mu, mu_influence = _coefficient(regressions, 1, weight)
    unexplained, unexplained_influence = _unexplained(regressions)
    return Placement(
        t=levels,
        log_snr=log_snr,
        gamma=gamma,
        gamma_error=standard_error(gamma_influence),
        mu=mu,
        mu_error=standard_error(mu_influence),
        unexplained=unexplained,
        unexplained_error=standard_error(unexplained_influence),
        weight=weight,
        memory_weight=memory_weight,
        missed=missed,
        missed_along=along_by_input.mean(1),
        total_correlation=dataset.grammar.total_correlation(),
        mean_gamma=_weighted_mean(gamma, gamma_influence, weight),
        mean_mu=_weighted_mean(mu, mu_influence, weight) if empirical else None,
        mean_unexplained=_weighted_mean(
            torch.where(gamma.isfinite(), unexplained, math.nan), unexplained_influence, weight
        ),
        grammar_nats=_integral(weight_by_input, log_snr),
        missed_nats=_integral(missed_by_input, log_snr),
        missed_along_nats=_integral(along_by_input, log_snr),
        settings={
            "images": n,
            "seed": config.seed,
            "negligible_weight": NEGLIGIBLE,
            "empirical": empirical is not None,
        },
    )


@torch.no_grad()
def grammar_weight(
    denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig, levels: Tensor
) -> Tensor:
    """Return ½ snr E‖D_product − D_Bayes‖² at each of `levels (T,)`: (T,).

    On the inputs of a measurement; the denoiser lends its schedule and device.
    """
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    product = ProductDenoiser(dataset, denoiser.scheduler).to(denoiser.device)
    found = []
    for t in levels.tolist():
        x_t = noisy_inputs(denoiser, dataset, config.placement_images, t, config.seed)
        level = torch.full((len(x_t),), t, device=x_t.device)
        square = (product(x_t, level) - bayes(x_t, level)).double().square()
        found.append(square.sum((1, 2, 3)).mean())
    return torch.stack(found).cpu() * denoiser.log_snr(levels).exp().cpu() / 2


def plot(result: Placement, ax: Axes, label: str = "network", **style: Any) -> Axes:
    """Draw gamma with a band of ±1.96 standard errors over the weight, shaded on a second axis."""
    x = result.log_snr.numpy()
    shade = ax.twinx()
    shade.fill_between(x, result.weight.numpy(), color=COLORS["bayes"], alpha=0.12, linewidth=0)
    shade.set_ylabel("grammar, nats per unit log-SNR", color="0.4")
    shade.set_ylim(bottom=0)
    ax.set_zorder(shade.get_zorder() + 1)
    ax.patch.set_visible(False)
    for y, error, name, line_style in (
        (result.gamma, result.gamma_error, f"gamma, {label}", "-"),
        (result.mu, result.mu_error, f"mu, {label}", "--"),
    ):
        if y.isfinite().any():
            (line,) = ax.plot(
                x, y.numpy(), marker="o", markersize=3, label=name, linestyle=line_style, **style
            )
            band = 1.96 * error
            ax.fill_between(
                x,
                (y - band).numpy(),
                (y + band).numpy(),
                color=line.get_color(),
                alpha=0.25,
                linewidth=0,
            )
    ax.axhline(1, color=COLORS["bayes"], linewidth=1, linestyle=":", label="optimal")
    ax.axhline(0, color=COLORS["product"], linewidth=1, linestyle=":", label="local")
    known = result.gamma.isfinite()
    values = result.gamma[known]
    low = min(-0.1, float(values.min()) - 0.1) if known.any() else -0.1
    high = max(1.1, float(values.max()) + 0.1) if known.any() else 1.1
    ax.set(xlabel="log-SNR (nats)", ylabel="share", ylim=(low, high))
    return ax


def _inner_products(
    x_t: Tensor,
    t: int,
    network: Denoiser,
    product: Denoiser,
    bayes: Denoiser,
    empirical: Denoiser | None,
) -> Tensor:
    """Gram matrix of r = D_net − D_product, a = D_Bayes − D_product, b = D_empirical − D_Bayes.

    Returns:
        (N, 3, 3) float64; b is zero without an empirical oracle.
    """
    level = torch.full((len(x_t),), t, device=x_t.device)
    outputs = [d(x_t, level).double() for d in (network, product, bayes)]
    d_net, d_product, d_bayes = outputs
    b = torch.zeros_like(d_net) if empirical is None else empirical(x_t, level) - d_bayes
    vectors = torch.stack([d_net - d_product, d_bayes - d_product, b.double()], 1).flatten(2)
    return vectors @ vectors.mT


@dataclass(frozen=True)
class _Regression:
    """Pooled least squares of r on (a, b) at one noise level.

    Attributes:
        gram: (N, 3, 3) inner products of r, a and b.
        coefficients: (2,) gamma and mu; NaN where an oracle equals its neighbour and spans nothing.
        influence: (N, 2) of each input on them; pixels are pooled, inputs are independent.
    """

    gram: Tensor
    coefficients: Tensor
    influence: Tensor

    @classmethod
    def fit(cls, gram: Tensor) -> "_Regression":
        mean = gram.mean(0)
        scale = mean.diagonal().max().clamp(min=1e-300)
        used = [i for i in (1, 2) if mean[i, i] > 1e-9 * scale]
        coefficients = torch.full((2,), math.nan, dtype=gram.dtype)
        influence = torch.full((len(gram), 2), math.nan, dtype=gram.dtype)
        inverse = torch.linalg.pinv(mean[used][:, used], hermitian=True, rtol=1e-9)
        solution = inverse @ mean[used, 0]
        slack = gram[:, used, 0] - gram[:, used][:, :, used] @ solution
        for column, index in enumerate(used):
            coefficients[index - 1] = solution[column]
            influence[:, index - 1] = (slack @ inverse)[:, column]
        return cls(gram, coefficients, influence)

    @property
    def missed(self) -> Tensor:
        """‖D_net − D_Bayes‖² = ‖r − a‖² of each input: (N,)."""
        return self.gram[:, 0, 0] - 2 * self.gram[:, 0, 1] + self.gram[:, 1, 1]

    @property
    def missed_along(self) -> Tensor:
        """What each input adds to the part of that along a, to first order: (N,), mean exact."""
        mean = self.gram.mean(0)
        along, axis = mean[0, 1] - mean[1, 1], mean[1, 1].clamp(min=1e-300)
        # (mean of (r - a)·a)² / mean of a·a
        short = along / axis
        by_input = self.gram[:, 0, 1] - self.gram[:, 1, 1]
        return (
            short * along + 2 * short * (by_input - along) - short**2 * (self.gram[:, 1, 1] - axis)
        )


def _unexplained(regressions: list[_Regression]) -> tuple[Tensor, Tensor]:
    """Return the share of E‖r‖² that each regression leaves (T,), and its influences (T, N).

    The coefficients are at the minimum of what is left, so their own errors change it in second
    order only.
    """
    shares, influences = [], []
    for regression in regressions:
        used = regression.coefficients.nan_to_num()
        residual = torch.cat([-used.new_ones(1), used])
        left = torch.einsum("nij,i,j->n", regression.gram, residual, residual)
        everything = regression.gram[:, 0, 0]
        scale = everything.mean().clamp(min=1e-300)
        share = (left.mean() / scale).clamp(min=0)
        shares.append(share)
        influences.append((left - share * everything) / scale)
    return torch.stack(shares), torch.stack(influences)


def _density(half_snr: Tensor, squares: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return ½ snr times squared norms: the mean over inputs (T,), and by input (T, N)."""
    by_input = half_snr[:, None] * torch.stack(squares)
    return by_input.mean(1), by_input


def _coefficient(
    regressions: list[_Regression], index: int, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return one coefficient (T,) and its influences (T, N), NaN where `weight` is negligible."""
    known = weight > NEGLIGIBLE * weight.max()
    value = torch.stack([r.coefficients[index] for r in regressions])
    influence = torch.stack([r.influence[:, index] for r in regressions])
    value = torch.where(known, value, math.nan)
    return value, torch.where(known[:, None], influence, math.nan)


def _weighted_mean(value: Tensor, influence: Tensor, weight: Tensor) -> tuple[float, float]:
    """Mean over the levels where `value` is defined, and its error; levels share their inputs."""
    known = value.isfinite()
    share = weight[known] / weight[known].sum()
    error = standard_error((share[:, None] * influence[known]).sum(0))
    return float((share * value[known]).sum()), float(error)


def _integral(density_by_input: Tensor, log_snr: Tensor) -> tuple[float, float]:
    """Trapezoid rule over log-SNR for each input; the mean over inputs and its standard error."""
    by_input = torch.trapezoid(density_by_input, log_snr, dim=0)
    n = len(by_input)
    return float(by_input.mean()), float(by_input.std() / n**0.5) if n > 1 else math.nan


# ---- in the suite -------------------------------------------------------------------------------


def probe(subject: "Subject", keep: "Keep") -> dict[str, Placement]:
    """Place the network among the oracles."""
    dataset = subject.dataset
    if dataset is None:
        raise UsageError("placement needs a dataset: without a grammar there is no optimum")
    empirical = subject.oracles.get("empirical")
    if empirical is subject.oracles["bayes"]:
        empirical = None  # nothing lies between them
    compute = partial(
        measure,
        subject.denoiser,
        dataset,
        subject.config.probe,
        empirical=empirical,
        progress=subject.progress,
    )
    return {"network": keep("network", Placement, compute)}


def draw(results: dict[str, Placement], subject: "Subject", folder: Path) -> None:
    """Gamma and mu over the weight of the grammar."""
    name = subject.architecture
    with figure(folder / "placement") as canvas:
        ax = plot(results["network"], canvas.subplots(), label=name, color=COLORS[name])
        ax.legend(loc="center left", bbox_to_anchor=(1.2, 0.5))


def summary(results: dict[str, Placement]) -> dict[str, Any]:
    """Return the numbers over all noise levels."""
    return results["network"].summary()


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return gamma, mu and what is missed, in words."""
    found = [f"gamma         {interval(content['gamma'])} (0 local, 1 optimal)"]
    if content["mu"] is not None:
        found.append(f"mu            {interval(content['mu'])} (1 recalls its training set)")
    found.append(f"unexplained   {interval(content['unexplained'])} of what is not the product's")
    found.append(
        f"missed        {interval(content['missed_along_nats'])} nats of the grammar's "
        f"{interval(content['grammar_nats'])} (exact: {content['total_correlation_nats']:.3f})"
    )
    return found
