"""The two-layer theory on the hypercube: what each neuron serves, and where the loss stands still.

The network is W2 relu(W1 [x; time] + b1) + b2, on words of d signs. Of each neuron's weights w from
the image, as cosines:

    with the nearest coordinate          max_i |w_i| / ‖w‖_2
    with the nearest parity direction    max over s in {-1, +1}^d of <w, s> / (√d ‖w‖_2)
                                         = ‖w‖_1 / (√d ‖w‖_2)

Neurons that serve single coordinates compute a sum of functions of one pixel each: the product
oracle, and no parity. A parity needs neurons that mix all pixels. Shares of neurons are counted
alike and weighted by what a neuron contributes, ‖w_in‖ ‖w_out‖. Random directions are the chance.

The population loss L(D) = E‖D(x_t) − x_0‖² enumerates every word. The integral over the noise does
not: each word has its own fixed draw of antithetic pairs ±eps, the same for every checkpoint and
oracle, and errors are over these draws. Given x_t the mean over words is exact,

    L(D) = E[ ‖D − D_Bayes‖² + Var(x_0 | x_t) ],     Var(x_0 | x_t) = d − ‖D_Bayes‖²,

which leaves less noise than ‖D − x_0‖² itself. On the plateau L(D) = L(D_product).

Reference:
    Lu et al., "Towards Understanding Text Hallucination of Diffusion Models via Local Generation
    Bias", arXiv:2503.03595, section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.foundations.seeding import generator
from diffprobe.models.checkpoint import list_checkpoints, load_denoiser
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser
from diffprobe.models.modules.mlp import MLP
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probes.noise_levels import spread_levels
from diffprobe.probes.placement import grammar_weight

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "two_layer_levels",
    "two_layer_draws",
    "two_layer_threshold",
    "two_layer_tolerance",
    "placement_images",
    "placement_levels",
    "seed",
)

# Words of the language that are enumerated at most, each with every draw of the noise.
MOST_WORDS = 2**12
# Noisy images held at once.
CHUNK_INPUTS = 2**12
# Random directions behind the chance lines: errors of at most 0.002 in a share.
RANDOM_DIRECTIONS = 2**16


@dataclass(frozen=True)
class Neurons:
    """What W neurons serve at each of S checkpoints.

    Attributes:
        coordinate: (S, W) cosine of the weights with the nearest coordinate.
        parity: (S, W) cosine with the nearest parity direction.
        same_coordinate: (S, W) bool, the largest weight in and the largest out are of one pixel.
        contribution: (S, W) ‖w_in‖ ‖w_out‖, as a share of all.
    """

    coordinate: Tensor
    parity: Tensor
    same_coordinate: Tensor
    contribution: Tensor

    def statistics(self, threshold: float) -> dict[str, Tensor]:
        """Return means and shares over neurons, (S, 2) each: plain, and by contribution."""
        serving = self.coordinate >= threshold
        values = {
            "coordinate": self.coordinate,
            "parity": self.parity,
            "serving_coordinate": serving,
            "serving_parity": self.parity >= threshold,
            "same_coordinate": self.same_coordinate,
            "serving_coordinate_through": serving & self.same_coordinate,
        }
        return {
            name: torch.stack([v.double().mean(1), (v * self.contribution).double().sum(1)], 1)
            for name, v in values.items()
        }


@dataclass(frozen=True)
class TwoLayer:
    """Losses and neurons at S checkpoints and T noise levels; losses are per image, in x_0².

    Attributes:
        steps: (S,) long.
        t: (T,) long, noisiest first.
        log_snr: (T,).
        loss: (S, T) population loss; its interval is over antithetic draws of the noise.
        product_loss: (T,) of the product oracle: the plateau.
        bayes_loss: (T,) of the Bayes oracle: the optimum.
        to_product: (S, T) E‖D_net − D_product‖².
        gained: (S,) the way from the product's loss to the optimum, over all levels:
            sum of (product_loss − loss) over sum of (product_loss − bayes_loss).
        neurons: What each neuron serves.
        chance: The plain statistics of random directions.
        pixels: d.
        settings: Draws, words, threshold, tolerance, seed.
    """

    steps: Tensor
    t: Tensor
    log_snr: Tensor
    loss: Interval
    product_loss: Interval
    bayes_loss: Interval
    to_product: Interval
    gained: Interval
    neurons: Neurons
    chance: dict[str, float]
    pixels: int
    settings: dict[str, Any]

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Means and shares over neurons, (S, 2) each: plain, and weighted by contribution."""
        return self.neurons.statistics(self.settings["threshold"])

    @property
    def distance(self) -> Tensor:
        """(S,) E‖D_net − D_product‖² over E‖D_Bayes − D_product‖², summed over levels."""
        gap = (self.product_loss.value - self.bayes_loss.value).sum()
        return self.to_product.value.sum(1) / gap

    @property
    def plateau(self) -> tuple[int, int] | None:
        """First and last step at which the loss is the product's, up to the stated tolerance."""
        near = self.steps[self.gained.value.abs() <= self.settings["tolerance"]]
        return (int(near[0]), int(near[-1])) if len(near) else None


@torch.no_grad()
def measure(
    checkpoints: Mapping[int, Denoiser] | Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> TwoLayer:
    """Measure what neurons serve, and the population loss beside the oracles'.

    Args:
        checkpoints: Training step -> a two-layer network; or one network.
        dataset: A hypercube.
        config: `two_layer_…`, `seed`.
        levels: (T,) timesteps; by default those at equal shares of the grammar's weight.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a network is not of two layers, the images are not of signs, the words are
            too many to enumerate, or a setting is out of range.
    """
    config = config or ProbeConfig()
    if isinstance(checkpoints, Denoiser):
        checkpoints = {0: checkpoints}
    networks = {step: _two_layers(d) for step, d in sorted(checkpoints.items())}
    denoisers = [d for _, d in sorted(checkpoints.items())]
    _check(dataset, config)
    if levels is None:
        levels = _levels_of_the_grammar(denoisers[0], dataset, config)
    inputs = _Population(dataset, config, denoisers[0])
    losses = [inputs.losses(denoisers, t) for t in progress(levels.tolist(), desc="two layers")]
    gap = torch.stack([level.product - level.bayes for level in losses]).sum(0)
    gained = torch.stack([level.product - level.network for level in losses]).sum(0)
    return TwoLayer(
        steps=torch.tensor(list(networks)),
        t=levels,
        log_snr=denoisers[0].log_snr(levels).cpu(),
        loss=intervals.mean(torch.stack([level.network for level in losses], 1)),
        product_loss=intervals.mean(torch.stack([level.product for level in losses])),
        bayes_loss=intervals.mean(torch.stack([level.bayes for level in losses])),
        to_product=intervals.mean(torch.stack([level.to_product for level in losses], 1)),
        gained=intervals.ratio(gained, gap.expand_as(gained)),
        neurons=_neurons(list(networks.values())),
        chance=_chance(dataset.grammar.length, config),
        pixels=dataset.grammar.length,
        settings={
            "words": len(inputs.x_0),
            "draws": config.two_layer_draws,
            "threshold": config.two_layer_threshold,
            "tolerance": config.two_layer_tolerance,
            "seed": config.seed,
        },
    )


def probe(subject: "Subject", keep: "Keep") -> dict[str, TwoLayer]:
    """Measure all checkpoints of a run up to the one that is probed."""
    dataset = _hypercube(subject.dataset)
    _two_layers(subject.denoiser)
    config = subject.config

    def along_training() -> TwoLayer:
        checkpoints: dict[int, Denoiser] = {subject.step or 0: subject.denoiser}
        if subject.run is not None and subject.step is not None:
            for found in list_checkpoints(subject.run.path):
                if found.step is not None and found.step < subject.step:
                    checkpoints[found.step] = load_denoiser(
                        found.path, config.sampling.weights, subject.denoiser.device
                    )
        return measure(checkpoints, dataset, config.probe, progress=subject.progress)

    return {"network": keep("network", TwoLayer, along_training)}


def summary(results: dict[str, TwoLayer]) -> dict[str, Any]:
    """Return the plateau, how far the last checkpoint got, and what its neurons serve."""
    result = results["network"]
    last = {name: value[-1].tolist() for name, value in result.statistics.items()}
    nearest = int(result.distance.argmin())
    return {
        "steps": result.steps,
        "t": result.t,
        "log_snr": result.log_snr,
        "loss": result.loss,
        "product_loss": result.product_loss.value,
        "bayes_loss": result.bayes_loss.value,
        "plateau": result.plateau,
        "nearest_product": {
            "step": int(result.steps[nearest]),
            "share_of_gap": float(result.distance[nearest]),
        },
        "gained": estimate(result.gained, -1),
        "neurons": {
            name: {"plain": last[name][0], "by_contribution": last[name][1], "chance": chance}
            for name, chance in result.chance.items()
        },
        **result.settings,
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the summary in words."""
    gained, neurons, plateau = content["gained"], content["neurons"], content["plateau"]
    where = f"from step {plateau[0]:,} to {plateau[1]:,}" if plateau else "at no checkpoint"
    nearest = content["nearest_product"]
    served, mixed = neurons["serving_coordinate_through"], neurons["serving_parity"]
    return [
        f"population loss over all {content['words']:,} words: within {content['tolerance']:.0%} "
        f"of the product oracle's (in terms of its distance to the optimum) {where}",
        f"nearest the product oracle at step {nearest['step']:,}: E‖D_net − D_product‖² is "
        f"{nearest['share_of_gap']:.1%} of E‖D_Bayes − D_product‖²",
        f"at the last step the loss has gone {interval(gained)} of the way from product to optimum",
        f"neurons that serve one coordinate, in and out (cosine ≥ {content['threshold']:g}): "
        f"{served['plain']:.1%} of them with {served['by_contribution']:.1%} of all contribution "
        f"(random directions {served['chance']:.2%})",
        f"neurons along a parity direction: {mixed['plain']:.1%} with "
        f"{mixed['by_contribution']:.1%} of all contribution (random {mixed['chance']:.2%})",
    ]


def draw(results: dict[str, TwoLayer], subject: "Subject", folder: Path) -> None:
    """Draw the losses at each level above, and what neurons serve below."""
    result = results["network"]
    n = len(result.t)
    with figure(folder / "two-layer", 7.5, 5.6) as canvas:
        halves: Any = canvas.subfigures(2, 1)
        above, below = halves
        panels = above.subplots(1, n, squeeze=False, sharey=True)[0]
        for index, ax in enumerate(panels):
            plot(result, ax, index)
            ax.label_outer()
        above.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        left, right = below.subplots(1, 2)
        plot_alignment(result, left)
        plot_shares(result, right)
        for ax in (left, right):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))


def plot(result: TwoLayer, ax: Axes, level: int = 0) -> Axes:
    """Draw the population loss per pixel at index `level` against step, beside the oracles'."""
    d = result.pixels
    for loss, label, style in (
        (result.loss, "network", {}),
        (result.to_product, "E‖network − product‖²", {"linestyle": "--", "alpha": 0.6}),
    ):
        y = loss[:, level]
        ax.errorbar(
            result.steps.numpy(),
            (y.value / d).numpy(),
            yerr=(torch.stack([y.value - y.low, y.high - y.value]).nan_to_num() / d).numpy(),
            color=COLORS["mlp"],
            marker="o",
            markersize=3,
            label=label,
            **style,  # type: ignore[arg-type]
        )
    for name, value, label in (
        ("product", result.product_loss.value, "product (plateau)"),
        ("bayes", result.bayes_loss.value, "Bayes optimum"),
    ):
        ax.axhline(value[level].item() / d, color=COLORS[name], linewidth=1.2, label=label)
    ax.set(
        xscale="log",
        xlabel="training step",
        ylabel="population loss per pixel",
        title=f"log-SNR {result.log_snr[level]:.1f}",
    )
    ax.set_ylim(bottom=0)
    return ax


def plot_alignment(result: TwoLayer, ax: Axes) -> Axes:
    """Draw mean cosines of neurons with the nearest coordinate and parity direction."""
    names = {
        "coordinate": ("nearest coordinate", COLORS["product"]),
        "parity": ("nearest parity direction", COLORS["bayes"]),
    }
    _draw_statistics(result, ax, names)
    ax.set(ylabel="cosine, mean over neurons", ylim=(0, 1.05))
    return ax


def plot_shares(result: TwoLayer, ax: Axes) -> Axes:
    """Draw the shares of neurons that serve one coordinate, or one parity direction."""
    threshold = result.settings["threshold"]
    names = {
        "serving_coordinate_through": (
            f"one coordinate in and out (≥ {threshold:g})",
            COLORS["product"],
        ),
        "serving_parity": (f"one parity direction (≥ {threshold:g})", COLORS["bayes"]),
    }
    _draw_statistics(result, ax, names)
    ax.set(ylabel="share of neurons", ylim=(-0.03, 1.05))
    return ax


def _draw_statistics(result: TwoLayer, ax: Axes, names: dict[str, tuple[str, str]]) -> None:
    statistics = result.statistics
    for name, (label, color) in names.items():
        plain, weighted = statistics[name].T.numpy()
        steps = result.steps.numpy()
        ax.plot(steps, weighted, color=color, marker="o", markersize=3, label=f"{label}, weighted")
        ax.plot(steps, plain, color=color, marker="o", markersize=3, mfc="white", ls="--", lw=1)
        ax.axhline(result.chance[name], color=color, linestyle=":", linewidth=1)
    ax.plot([], [], color="0.4", ls="--", lw=1, marker="o", mfc="white", label="not weighted")
    ax.plot([], [], color="0.4", ls=":", lw=1, label="random directions")
    ax.set(xscale="log", xlabel="training step")


# ---- the population --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Losses:
    """Losses at one level for each of P antithetic pairs: (S, P) of networks, (P,) of oracles."""

    network: Tensor
    product: Tensor
    bayes: Tensor
    to_product: Tensor


class _Population:
    """Every word of the language, and a fixed draw of antithetic noise for each."""

    def __init__(self, dataset: SymbolImages, config: ProbeConfig, denoiser: Denoiser) -> None:
        self.device = denoiser.device
        words = dataset.grammar.words(MOST_WORDS)
        self.x_0 = dataset.render(words).to(self.device)
        self.probability = dataset.grammar.probability(words).to(self.device)
        random = generator(config.seed, "two layers")
        self.eps = torch.randn(config.two_layer_draws // 2, *self.x_0.shape, generator=random)
        self.bayes = BayesDenoiser(dataset, denoiser.scheduler).to(self.device)
        self.product = ProductDenoiser(dataset, denoiser.scheduler).to(self.device)

    def losses(self, networks: list[Denoiser], t: int) -> _Losses:
        """Return the losses of networks and oracles at level `t`."""
        alpha, sigma = self.bayes.alpha_sigma(torch.tensor([t], device=self.device))
        found = []
        for eps in self.eps.split(max(1, CHUNK_INPUTS // (2 * len(self.x_0)))):
            noise = torch.stack([eps, -eps], 1).to(self.device)
            x_t = (alpha * self.x_0 + sigma * noise).flatten(0, 2)
            found.append(self._losses_at(networks, x_t, t))
        rows = torch.cat(found, -1).cpu()
        s = len(networks)
        return _Losses(rows[:s], rows[2 * s], rows[2 * s + 1], rows[s : 2 * s])

    def _losses_at(self, networks: list[Denoiser], x_t: Tensor, t: int) -> Tensor:
        """Losses of S networks, their distances to product, two oracles' losses: means over words.

        Args:
            networks: S of them.
            x_t: (p · 2 · W, C, H, W), of p pairs.
            t: Noise level.

        Returns:
            (2 S + 2, p) float64.
        """
        level = torch.full((len(x_t),), t, device=self.device)

        def mean_square(x: Tensor) -> Tensor:
            squares = x.double().square().sum((1, 2, 3)).unflatten(0, (-1, 2, len(self.x_0)))
            mean: Tensor = squares.mean(1) @ self.probability
            return mean

        bayes, product = self.bayes(x_t, level), self.product(x_t, level)
        variance = self.x_0[0].numel() - mean_square(bayes)
        outputs = [network(x_t, level) for network in networks]
        return torch.stack(
            [
                *(mean_square(output - bayes) + variance for output in outputs),
                *(mean_square(output - product) for output in outputs),
                mean_square(product - bayes) + variance,
                variance,
            ]
        )


# ---- neurons ---------------------------------------------------------------------------------


def _neurons(networks: list[MLP]) -> Neurons:
    weights = []
    for network in networks:
        pixels = network.output.out_features
        weights.append((network.hidden.weight[:, :pixels].cpu(), network.output.weight.T.cpu()))
    into = torch.stack([w for w, _ in weights])
    out = torch.stack([v for _, v in weights])
    contribution = into.norm(dim=-1) * out.norm(dim=-1)
    coordinate, parity = _cosines(into)
    return Neurons(
        coordinate=coordinate,
        parity=parity,
        same_coordinate=into.abs().argmax(-1) == out.abs().argmax(-1),
        contribution=contribution / contribution.sum(1, keepdim=True),
    )


def _cosines(w: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of directions `w (…, d)` with the nearest coordinate and parity direction."""
    norm = w.norm(dim=-1).clamp(min=torch.finfo(w.dtype).tiny)
    return w.abs().amax(-1) / norm, w.abs().sum(-1) / (w.shape[-1] ** 0.5 * norm)


def _chance(pixels: int, config: ProbeConfig) -> dict[str, float]:
    """The statistics of directions that know nothing of coordinates, in and out independent."""
    random = generator(config.seed, "random directions")
    into, out = torch.randn(2, 1, RANDOM_DIRECTIONS, pixels, generator=random)
    coordinate, parity = _cosines(into)
    null = Neurons(
        coordinate=coordinate,
        parity=parity,
        same_coordinate=into.abs().argmax(-1) == out.abs().argmax(-1),
        contribution=torch.full_like(coordinate, 1 / RANDOM_DIRECTIONS),
    )
    statistics = null.statistics(config.two_layer_threshold)
    return {name: float(value[0, 0]) for name, value in statistics.items()}


# ---- what it applies to ----------------------------------------------------------------------


def _levels_of_the_grammar(
    denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig
) -> Tensor:
    """The middles of n equal shares of what the grammar is worth, noisiest first."""
    n = config.two_layer_levels
    levels = spread_levels(denoiser, config.placement_levels)
    share = grammar_weight(denoiser, dataset, config, levels).cumsum(0)
    middles = (torch.arange(n, dtype=share.dtype) + 0.5) / n * share[-1]
    return levels[torch.searchsorted(share.cpu(), middles).unique()]


def _two_layers(denoiser: Denoiser) -> MLP:
    network: Any = denoiser.network if isinstance(denoiser, NetworkDenoiser) else denoiser
    if not isinstance(network, MLP):
        raise UsageError(
            f"the two-layer theory is about networks of model.name=mlp; this is a "
            f"{type(network).__name__} (train one with --preset hypercube-mlp)"
        )
    two_layers: MLP = network
    return two_layers


def _hypercube(dataset: SymbolImages | None) -> SymbolImages:
    if dataset is None or dataset.glyphs.images.flatten().tolist() != [-1.0, 1.0]:
        raise UsageError(
            "the two-layer theory is about words of signs, one pixel each (images.name=pixels)"
        )
    return dataset


def _check(dataset: SymbolImages, config: ProbeConfig) -> None:
    count = _hypercube(dataset).grammar.count()
    if count > MOST_WORDS:
        raise UsageError(
            f"the population loss enumerates every word: at most {MOST_WORDS:,}, not {count:,}"
        )
    draws = config.two_layer_draws
    if draws < 4 or draws % 2:
        raise UsageError(f"probe.two_layer_draws must be even and at least 4, not {draws}")
    if config.two_layer_levels < 1:
        raise UsageError(
            f"probe.two_layer_levels must be at least 1, not {config.two_layer_levels}"
        )
    for name in ("two_layer_threshold", "two_layer_tolerance"):
        if not 0 < getattr(config, name) < 1:
            raise UsageError(f"probe.{name} must lie in (0, 1), not {getattr(config, name)}")
