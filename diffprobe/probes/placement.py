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

from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.figures import COLORS
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.noise_levels import noisy_inputs, spread_levels
from diffprobe.progress import Progress, silent
from diffprobe.records import estimate

# Levels with less than this share of the largest weight say nothing about gamma.
NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class Placement:
    """A network's place among the oracles at T noise levels.

    Attributes:
        t: (T,) long, noisiest first.
        log_snr: (T,).
        gamma, gamma_error: (T,) share of the grammar used and its standard error; NaN where the
            weight is negligible.
        mu, mu_error: (T,) share of the training set recalled; NaN without an empirical oracle or
            where it equals the Bayes oracle.
        unexplained: (T,) share of E‖D_net − D_product‖² that the regression leaves.
        weight, weight_error: (T,) nats per unit log-SNR that the grammar is worth.
        memory_weight: (T,) ½ snr E‖D_empirical − D_Bayes‖², the same for the training set.
        missed, missed_error: (T,) ½ snr E‖D_net − D_Bayes‖², nats per unit log-SNR.
        missed_along: (T,) its part along the axis from product to Bayes.
        total_correlation: Of the grammar, in nats.
        settings: Inputs and seed.
    """

    t: Tensor
    log_snr: Tensor
    gamma: Tensor
    gamma_error: Tensor
    mu: Tensor
    mu_error: Tensor
    unexplained: Tensor
    weight: Tensor
    weight_error: Tensor
    memory_weight: Tensor
    missed: Tensor
    missed_error: Tensor
    missed_along: Tensor
    total_correlation: float
    settings: dict[str, Any]

    @property
    def grammar_nats(self) -> tuple[float, float]:
        """½ ∫ E‖D_product − D_Bayes‖² dsnr and its standard error, in nats."""
        return _integral(self.weight, self.weight_error, self.log_snr)

    @property
    def missed_nats(self) -> tuple[float, float]:
        """½ ∫ E‖D_net − D_Bayes‖² dsnr and its standard error, in nats."""
        return _integral(self.missed, self.missed_error, self.log_snr)

    @property
    def missed_along_nats(self) -> float:
        """The part of `missed_nats` along the axis from product to Bayes, in nats."""
        return _integral(self.missed_along, self.missed_error, self.log_snr)[0]

    @property
    def mean_gamma(self) -> tuple[float, float]:
        """Gamma averaged over noise levels by weight, and its standard error."""
        return _weighted_mean(self.gamma, self.gamma_error, self.weight)

    @property
    def mean_mu(self) -> tuple[float, float] | None:
        """Mu averaged likewise by the weight of its own axis; None without an empirical oracle."""
        if not self.mu.isfinite().any():
            return None
        return _weighted_mean(self.mu, self.mu_error, self.memory_weight)

    def summary(self) -> dict[str, Any]:
        """Return the numbers over all noise levels."""
        return {
            "gamma": estimate(*self.mean_gamma),
            "mu": estimate(*self.mean_mu) if self.mean_mu else None,
            "grammar_nats": estimate(*self.grammar_nats),
            "total_correlation_nats": self.total_correlation,
            "missed_nats": estimate(*self.missed_nats),
            "missed_along_nats": self.missed_along_nats,
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
    bayes = BayesDenoiser(dataset, denoiser.scheduler).to(denoiser.alphas_cumprod.device)
    product = ProductDenoiser(dataset, denoiser.scheduler).to(denoiser.alphas_cumprod.device)
    levels = spread_levels(denoiser, config.placement_levels) if levels is None else levels
    snr = denoiser.log_snr(levels).exp().cpu()
    rows = []
    for t in progress(levels.tolist(), desc="placement", unit="level"):
        _, x_t = noisy_inputs(denoiser, dataset, n, t, config.seed)
        products = [
            _inner_products(batch, t, denoiser, product, bayes, empirical)
            for batch in x_t.split(config.batch_size)
        ]
        rows.append(_regress(torch.cat(products).cpu()))
    table = {
        name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]
    }
    half_snr = snr / 2
    weight = half_snr * table["axis"]
    memory_weight = half_snr * table["memory_axis"]
    gamma_known = weight > NEGLIGIBLE * weight.max()
    mu_known = memory_weight > NEGLIGIBLE * memory_weight.max()
    nan = torch.tensor(float("nan"), dtype=torch.float64)
    return Placement(
        t=levels,
        log_snr=snr.log(),
        gamma=torch.where(gamma_known, table["gamma"], nan),
        gamma_error=torch.where(gamma_known, table["gamma_error"], nan),
        mu=torch.where(mu_known, table["mu"], nan),
        mu_error=torch.where(mu_known, table["mu_error"], nan),
        unexplained=table["unexplained"],
        weight=weight,
        weight_error=half_snr * table["axis_error"],
        memory_weight=memory_weight,
        missed=half_snr * table["missed"],
        missed_error=half_snr * table["missed_error"],
        missed_along=half_snr * table["missed_along"],
        total_correlation=dataset.grammar.total_correlation(),
        settings={
            "images": n,
            "seed": config.seed,
            "negligible_weight": NEGLIGIBLE,
            "empirical": empirical is not None,
        },
    )


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


def _regress(gram: Tensor) -> dict[str, float]:
    """Pooled least squares of r on (a, b), with standard errors over inputs."""
    n = len(gram)
    mean = gram.mean(0)
    rr, ra, aa = mean[0, 0], mean[0, 1], mean[1, 1]
    scale = mean.diagonal().max().clamp(min=1e-300)
    # An oracle that equals its neighbour spans no direction.
    used = [i for i in (1, 2) if mean[i, i] > 1e-9 * scale]
    normal, target = mean[used][:, used], mean[used, 0]
    solution = torch.linalg.pinv(normal, hermitian=True, rtol=1e-9) @ target
    coefficients = dict(zip(used, solution.tolist(), strict=True))
    # Sandwich errors: the regression pools pixels, and inputs are the independent units.
    slack = gram[:, used, 0] - gram[:, used][:, :, used] @ solution
    influence = slack @ torch.linalg.pinv(normal, hermitian=True, rtol=1e-9)
    errors = dict(
        zip(used, (influence.square().sum(0) / (n * (n - 1))).sqrt().tolist(), strict=True)
    )
    explained = float(solution @ target)
    # D_net − D_Bayes = r − a
    missed = gram[:, 0, 0] - 2 * gram[:, 0, 1] + gram[:, 1, 1]
    along = (ra - aa).square() / aa if aa > 1e-9 * scale else aa * 0
    nan = float("nan")
    return {
        "gamma": coefficients.get(1, nan),
        "gamma_error": errors.get(1, nan),
        "mu": coefficients.get(2, nan),
        "mu_error": errors.get(2, nan),
        "unexplained": max(0.0, 1 - explained / float(rr)) if rr > 0 else 0.0,
        "axis": float(aa),
        "axis_error": float(gram[:, 1, 1].std() / n**0.5),
        "memory_axis": float(mean[2, 2]),
        "missed": float(missed.mean()),
        "missed_error": float(missed.std() / n**0.5),
        "missed_along": float(along),
    }


def _weighted_mean(value: Tensor, error: Tensor, weight: Tensor) -> tuple[float, float]:
    """Mean over the levels where `value` is defined; errors added, as in `_integral`."""
    known = value.isfinite()
    share = weight[known] / weight[known].sum()
    return float((share * value[known]).sum()), float((share * error[known]).sum())


def _integral(density: Tensor, error: Tensor, log_snr: Tensor) -> tuple[float, float]:
    """Trapezoid rule over log-SNR, and the error of the sum.

    The levels share their inputs, so their errors are added, not squared: an upper bound.
    """
    steps = log_snr.diff()
    ends = torch.zeros(1, dtype=steps.dtype)
    widths = (torch.cat([steps, ends]) + torch.cat([ends, steps])) / 2
    return float((density * widths).sum()), float((error * widths).sum())
