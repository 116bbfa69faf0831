"""What the hidden states know: linear probes of each layer, at each noise level.

Two questions are put to the activations of a noisy image x_t:

    word      does the word behind x_t obey the grammar? Half of the images are of words of the
              grammar, half of words drawn from the product of its marginals that are not valid:
              cell by cell the two look alike.
    sample    will this sample be grammatical? x_t lies on the network's own sampling path, and the
              answer is the verdict on the image it ends in. Illegible samples are left out, and
              of the more frequent answer so many that both are equally frequent.

A linear probe of features that are linear in the pixels cannot compute a parity, so any success is
the layer's. Beside it: chance, one half; the same probe of the noisy pixels and of the output
x0_hat; and for the word the exact optimum, which no probe can beat in expectation: the sign of
log p(x_t | valid) − log p(x_t | invalid). With the product Q of the marginals, and P its share of
valid words,

    p(x_t | invalid) = [ p_Q(x_t) − p_Q(x_t, valid) ] / (1 − P),

where p_Q(x_t) is a product over cells and p_Q(x_t, valid) the grammar's partition function with the
marginals for weights.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffprobe.config import ProbeConfig, SamplingConfig
from diffprobe.datasets import Grammar, SymbolImages
from diffprobe.datasets.semiring import LOG_ZERO, LogSemiring
from diffprobe.errors import UsageError
from diffprobe.figures import COLORS, figure
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.activations import activations
from diffprobe.probes.linear_probe import fit
from diffprobe.progress import Progress, silent
from diffprobe.sampling import make_sampler, sample
from diffprobe.seeding import generator
from diffprobe.statistics import Rate, wilson
from diffprobe.verdicts import judge

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "hidden_layers",
    "hidden_levels",
    "hidden_images",
    "hidden_samples",
    "hidden_features",
    "batch_size",
    "seed",
    "sampling",
)

QUESTIONS = {
    "word": "does the word behind x_t obey the grammar?",
    "sample": "will this sample be grammatical?",
}
PIXELS, OUTPUT = "x_t", "x0_hat"
# The levels lie where the exact optimum is right this often, and at both ends of the schedule.
DECIDING = (0.55, 0.99)
# Half of the images to train on, a fifth of it to choose the penalty; the other half to test on.
TRAIN, VALIDATE = 0.4, 0.1
# Both answers are equally frequent.
CHANCE = 0.5
# Images below which there is nothing to train on.
FEWEST = 20


@dataclass(frozen=True)
class HiddenStates:
    """Accuracy of linear probes from R layers at T noise levels, each with its 95 % interval.

    Attributes:
        question: "word" or "sample".
        layers: R names: "x_t", the layers in the order in which they are run, "x0_hat".
        t: (T,) long, noisiest first.
        log_snr: (T,).
        accuracy, low, high: (R, T) share of right answers in the test part, half of which is
            true; NaN where there are too few images.
        validation: (R, T) the same in the part that chose the penalty.
        optimum, optimum_low, optimum_high: (T,) of the exact optimum on the same test images; NaN
            where it is not known.
        n: Images in the test part.
        settings: Images, features, split, penalties, seed.
    """

    question: str
    layers: tuple[str, ...]
    t: Tensor
    log_snr: Tensor
    accuracy: Tensor
    low: Tensor
    high: Tensor
    validation: Tensor
    optimum: Tensor
    optimum_low: Tensor
    optimum_high: Tensor
    n: int
    settings: dict[str, Any]

    @property
    def best(self) -> tuple[int, int]:
        """The level at which the answer is all but certain, and the best hidden state there.

        That is the cleanest level but the end of the schedule, where a network has nothing to do.
        The layer is chosen on the validation part alone.

        Returns:
            Indices of the layer and of the level.
        """
        level = max(len(self.t) - 2, 0)
        return int(self.validation[1:-1, level].nan_to_num(-1).argmax()) + 1, level

    def rate(self, row: int, level: int) -> Rate:
        """Return the accuracy of one layer at one level on the test part."""
        return _rate(self.accuracy[row, level], self.n)


def measure(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> HiddenStates:
    """Ask each layer whether the word behind a noisy image obeys the grammar.

    Args:
        denoiser: With named layers.
        dataset: Whose words and product-invalid words are drawn.
        config: `hidden_…`, `batch_size`, `seed`.
        levels: (T,) timesteps instead of those where the optimum turns from chance to certainty.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer, the images are too few, or no word is invalid.
    """
    config = config or ProbeConfig()
    _check(config)
    random = generator(config.seed, "hidden states")
    words = mixed_words(dataset.grammar, config.hidden_images // 2, random)
    x_0 = dataset.draw(words, random).to(denoiser.device)
    eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
    labels = torch.arange(len(words)) % 2 == 0
    if levels is None:
        levels = _deciding_levels(denoiser, dataset, x_0, eps, config.hidden_levels)
    inputs, odds = {}, []
    for t in levels.tolist():
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_0.device))
        inputs[t] = alpha * x_0 + sigma * eps
        odds.append(log_odds(denoiser, dataset, inputs[t], t).cpu() > 0)
    return _ask("word", denoiser, inputs, labels, torch.stack(odds), config, progress)


def measure_samples(
    denoiser: Denoiser,
    dataset: SymbolImages,
    config: ProbeConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> HiddenStates:
    """Ask each layer, along the sampling path, whether the sample will be grammatical.

    Args:
        denoiser: With named layers; it is sampled from.
        dataset: Whose reader and grammar judge the samples.
        config: `hidden_…`, `batch_size`, `seed`.
        sampling: Sampler, steps, seed; `hidden_samples` images are made.
        levels: (T,) timesteps; those that the sampler visits nearest to them are taken.
        progress: Called as tqdm is.

    Raises:
        UsageError: If there is no such layer, or the images are too few.
    """
    config = config or ProbeConfig()
    _check(config)
    sampling = replace(sampling or SamplingConfig(), n=config.hidden_samples)
    if levels is None:
        random = generator(config.seed, "hidden states")
        words = mixed_words(dataset.grammar, 256, random)
        x_0 = dataset.draw(words, random).to(denoiser.device)
        eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
        levels = _deciding_levels(denoiser, dataset, x_0, eps, config.hidden_levels)
    visited = _visited(denoiser, sampling, levels)
    paths: dict[int, dict[int, Tensor]] = {t: {} for t in visited}

    def watch(batch: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        if int(level) in paths:
            paths[int(level)][batch] = x_t

    made = sample(denoiser, dataset.image_shape, sampling, progress, watch)
    verdicts = judge(dataset, made.images)
    chosen = _in_turn(verdicts.grammatical, verdicts.legible & ~verdicts.grammatical)
    inputs = {
        t: torch.cat(list(path.values()))[chosen.to(denoiser.device)] for t, path in paths.items()
    }
    labels = verdicts.grammatical[chosen]
    return _ask("sample", denoiser, inputs, labels, None, config, progress)


def probe(subject: "Subject", keep: "Keep") -> dict[str, HiddenStates]:
    """Put both questions to the network."""
    dataset, config = subject.dataset, subject.config
    if dataset is None:
        raise UsageError("hidden states are asked about a grammar, and none is known")
    return {
        "word": keep(
            "word",
            HiddenStates,
            lambda: measure(subject.denoiser, dataset, config.probe, progress=subject.progress),
        ),
        "sample": keep(
            "sample",
            HiddenStates,
            lambda: measure_samples(
                subject.denoiser, dataset, config.probe, config.sampling, progress=subject.progress
            ),
        ),
    }


def summary(results: dict[str, HiddenStates]) -> dict[str, Any]:
    """Return what the best layer tells of each question where the answer is all but certain."""
    found = {}
    for question, result in results.items():
        row, level = result.best
        found[question] = {
            "layer": result.layers[row],
            "t": result.t[level],
            "log_snr": result.log_snr[level].item(),
            "accuracy": result.rate(row, level),
            "pixels": result.rate(0, level),
            "output": result.rate(len(result.layers) - 1, level),
            # Named for what it is, so that it is not taken for a measurement of the network.
            "bayes": _rate(result.optimum[level], result.n),
            "chance": CHANCE,
        }
    return found


def lines(content: Mapping[str, Any], subject: "Subject") -> list[str]:
    """Return the summary in words."""
    told = []
    for question, found in content.items():
        optimum = found["bayes"]
        ceiling = f", exact optimum {optimum.value:.1%}" if optimum.value is not None else ""
        told += [
            f"hidden states, {QUESTIONS[question]} (chance {found['chance']:.0%}{ceiling})",
            f"  best layer {found['layer']} at log-SNR {found['log_snr']:.1f}: {found['accuracy']}"
            f"{_finding(found['accuracy'], found['chance'])}",
            f"  the same linear probe of the noisy pixels: {found['pixels']}",
            f"  and of the output x0_hat: {found['output']}",
        ]
    return told


def _finding(accuracy: Rate, chance: float) -> str:
    if accuracy.value is None:
        return ": too few samples of either verdict"
    return "; not above chance" if accuracy.low <= chance else "; above chance"


def draw(results: dict[str, HiddenStates], subject: "Subject", folder: Path) -> None:
    """Draw the accuracies of both questions side by side."""
    with figure(folder / "hidden-states", 7.5, 4.2) as canvas:
        panels = canvas.subplots(1, len(results), sharey=True, squeeze=False)[0]
        for ax, result in zip(panels, results.values(), strict=True):
            plot(result, ax)
            ax.label_outer()
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=4)


def plot(result: HiddenStates, ax: Axes) -> Axes:
    """Draw accuracy at each level: points with 95 % intervals for each layer, early to late."""
    places = torch.arange(len(result.t), dtype=torch.float64)
    depths = len(result.layers) - 2
    shades = mpl.colormaps["viridis"]
    for row, name in enumerate(result.layers):
        if name == PIXELS:
            style: dict[str, Any] = {"color": "0.5", "ls": "--", "label": "noisy pixels"}
        elif name == OUTPUT:
            style = {"color": COLORS["invalid"], "ls": "--", "label": "output x0_hat"}
        else:
            style = {"color": shades(0.95 * (row - 1) / max(depths - 1, 1)), "label": name}
        y = result.accuracy[row]
        error = torch.stack([y - result.low[row], result.high[row] - y]).clamp(min=0)
        # Beside each other, so that intervals can be told apart.
        beside = places + 0.4 * (row / (len(result.layers) - 1) - 0.5)
        ax.errorbar(
            beside.numpy(), y.numpy(), yerr=error.numpy(), marker="o", ms=3, lw=1.2, **style
        )
    if result.optimum.isfinite().any():
        ax.plot(
            places.numpy(),
            result.optimum.numpy(),
            color=COLORS["bayes"],
            marker="o",
            ms=3,
            label="exact optimum",
        )
    if not result.accuracy.isfinite().any():
        ax.text(0.5, 0.6, "too few of either answer", ha="center", transform=ax.transAxes)
    ax.axhline(CHANCE, color="0.3", ls=":", lw=1, label="chance")
    ax.set_xticks(places.tolist(), [f"{s:.1f}" for s in result.log_snr.tolist()])
    ax.set(
        xlabel="log-SNR (nats)",
        ylabel="accuracy on held-out images",
        title=f"{QUESTIONS[result.question]}\n(n = {result.n:,})",
    )
    return ax


# ---- the probes ------------------------------------------------------------------------------


def _ask(
    question: str,
    denoiser: Denoiser,
    inputs: Mapping[int, Tensor],
    labels: Tensor,
    decided: Tensor | None,
    config: ProbeConfig,
    progress: Progress,
) -> HiddenStates:
    """Train and test a probe of each layer at each level; `decided (T, N)` is by the optimum."""
    train = round(TRAIN * len(labels))
    test = train + round(VALIDATE * len(labels))
    tables = []
    names: tuple[str, ...] = ()
    for t, x_t in progress(inputs.items(), desc=f"hidden states, {question}", unit="level"):
        states = activations(
            denoiser,
            x_t,
            t,
            config.hidden_layers,
            features=config.hidden_features,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        states = {PIXELS: x_t.flatten(1).float().cpu(), **states}
        names = tuple(states)
        tables.append([_accuracies(features, labels, train, test) for features in states.values()])
    right = torch.tensor(tables, dtype=torch.float64)  # level, layer, part
    validation, accuracy = right.permute(2, 1, 0)
    n = len(labels) - test
    optimum = torch.full((len(inputs),), math.nan, dtype=torch.float64)
    if decided is not None:
        optimum = (decided[:, test:] == labels[test:]).double().mean(1)
    low, high = _intervals(accuracy, n)
    optimum_low, optimum_high = _intervals(optimum, n)
    levels = torch.tensor(list(inputs))
    return HiddenStates(
        question=question,
        layers=names,
        t=levels,
        log_snr=denoiser.log_snr(levels).cpu(),
        accuracy=accuracy,
        low=low,
        high=high,
        validation=validation,
        optimum=optimum,
        optimum_low=optimum_low,
        optimum_high=optimum_high,
        n=n,
        settings={
            "images": len(labels),
            "train": train,
            "validation": test - train,
            "features": config.hidden_features,
            "seed": config.seed,
        },
    )


def _in_turn(yes: Tensor, no: Tensor) -> Tensor:
    """Indices of the first so many of either kind, in turn: as many as the rarer kind has."""
    n = int(min(yes.sum(), no.sum()))
    return torch.stack([kind.nonzero()[:n, 0] for kind in (yes, no)], 1).flatten()


def _accuracies(features: Tensor, labels: Tensor, train: int, test: int) -> tuple[float, float]:
    """Share of right answers in the validation and in the test part."""
    if len(labels) < FEWEST:
        return math.nan, math.nan
    part = slice(train, test)
    probe = fit((features[:train], labels[:train]), (features[part], labels[part]))
    right = ((probe(features) > 0) == labels).double()
    return right[part].mean().item(), right[test:].mean().item()


def _rate(accuracy: Tensor, n: int) -> Rate:
    if not accuracy.isfinite():
        return wilson(0, 0)
    return wilson(round(accuracy.item() * n), n)


def _intervals(accuracy: Tensor, n: int) -> tuple[Tensor, Tensor]:
    rates = [_rate(a, n) for a in accuracy.flatten()]
    low, high = (torch.tensor([getattr(r, end) for r in rates]) for end in ("low", "high"))
    return low.reshape(accuracy.shape), high.reshape(accuracy.shape)


# ---- words, levels and the optimum -----------------------------------------------------------


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
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device), torch.float64)
    scores = dataset.evidence(x_t.double(), alpha.flatten(), sigma.flatten())
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


def _deciding_levels(
    denoiser: Denoiser, dataset: SymbolImages, x_0: Tensor, eps: Tensor, n: int
) -> Tensor:
    """Return both ends of the schedule, and n − 2 levels between that decide, noisiest first."""
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


def _visited(denoiser: Denoiser, sampling: SamplingConfig, levels: Tensor) -> list[int]:
    """Return the timesteps on the sampler's path that are nearest to `levels`, noisiest first."""
    scheduler = make_sampler(sampling.sampler, denoiser.scheduler)
    scheduler.set_timesteps(sampling.steps)
    path = torch.as_tensor(scheduler.timesteps).long().cpu()
    log_snr = denoiser.log_snr(path).cpu()
    nearest = (log_snr - denoiser.log_snr(levels).cpu()[:, None]).abs().argmin(1)
    return sorted(set(path[nearest].tolist()), reverse=True)


def _check(config: ProbeConfig) -> None:
    for name, least in (
        ("hidden_levels", 3),
        ("hidden_images", FEWEST),
        ("hidden_samples", FEWEST),
        ("hidden_features", 1),
        ("batch_size", 1),
    ):
        if getattr(config, name) < least:
            raise UsageError(f"probe.{name} must be at least {least}, not {getattr(config, name)}")
