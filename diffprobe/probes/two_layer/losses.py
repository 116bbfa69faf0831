"""The two-layer theory on the hypercube: what each neuron serves, and where the loss stands still.

The network is W2 relu(W1 [x; time] + b1) + b2, on words of d signs; what its neurons serve is in
`neurons`.

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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations import intervals
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.checkpoint_folder import list_checkpoints
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser
from diffprobe.models.modules.mlp import MLP
from diffprobe.probes.two_layer import TwoLayerConfig
from diffprobe.probes.two_layer.neurons import Neurons, chance, what_neurons_serve
from diffprobe.probes.two_layer.population import MOST_WORDS, Population
from diffprobe.probing.grammar_weight import GrammarWeight

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


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

    def first_beyond(self, gained: float) -> tuple[float, bool]:
        """Return where the loss has first gained more than a share of the way, and whether it did.

        Returns:
            log10 of the training step, along a straight line in it between checkpoints; that of the
            first checkpoint where it has gained as much already, and of the last where it never
            does: a bound.
        """
        logs = self.steps.clamp(min=1).double().log10()
        y = self.gained.value
        beyond = (y > gained).nonzero().flatten()
        if not len(beyond):
            return float(logs[-1]), False
        i = int(beyond[0])
        if i == 0:
            return float(logs[0]), True
        share = (gained - y[i - 1]) / (y[i] - y[i - 1])
        return float(logs[i - 1] + share * (logs[i] - logs[i - 1])), True


@torch.no_grad()
def measure(
    checkpoints: Mapping[int, Denoiser] | Denoiser,
    dataset: SymbolImages,
    settings: TwoLayerConfig | None = None,
    common: ProbeConfig | None = None,
    *,
    levels: Tensor | None = None,
    progress: Progress = silent,
) -> TwoLayer:
    """Measure what neurons serve, and the population loss beside the oracles'.

    Args:
        checkpoints: Training step -> a two-layer network; or one network.
        dataset: A hypercube.
        settings: `levels`, `draws`, `threshold`, `tolerance`.
        common: `seed`, and what the weight of the grammar is measured with.
        levels: (T,) timesteps; by default those at equal shares of the grammar's weight.
        progress: Called as tqdm is.

    Raises:
        UsageError: If a network is not of two layers, the images are not of signs, or the words are
            too many to enumerate.
    """
    settings, common = settings or TwoLayerConfig(), common or ProbeConfig()
    if isinstance(checkpoints, Denoiser):
        checkpoints = {0: checkpoints}
    networks = {step: _two_layers(d) for step, d in sorted(checkpoints.items())}
    denoisers = [d for _, d in sorted(checkpoints.items())]
    _check(dataset)
    if levels is None:
        levels = GrammarWeight.of(denoisers[0], dataset, common).middles(settings.levels)
    inputs = Population(dataset, denoisers[0], settings.draws, common.seed)
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
        neurons=what_neurons_serve(list(networks.values())),
        chance=chance(dataset.grammar.length, settings.threshold, common.seed),
        pixels=dataset.grammar.length,
        settings={
            "words": len(inputs.x_0),
            "draws": settings.draws,
            "threshold": settings.threshold,
            "tolerance": settings.tolerance,
            "seed": common.seed,
        },
    )


def measure_run(settings: TwoLayerConfig, subject: "Subject", keep: "Keep") -> dict[str, TwoLayer]:
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
                        found.path, config.weights, subject.denoiser.device
                    )
        levels = subject.weight.middles(settings.levels) if subject.weight else None
        return measure(
            checkpoints,
            dataset,
            settings,
            config.probe,
            levels=levels,
            progress=subject.progress,
        )

    return {"network": keep("network", TwoLayer, along_training)}


def _two_layers(denoiser: Denoiser) -> MLP:
    network: Any = denoiser.network if isinstance(denoiser, NetworkDenoiser) else denoiser
    if not isinstance(network, MLP):
        raise UsageError(
            f"the two-layer theory is about networks of network.name=mlp; this is a "
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


def _check(dataset: SymbolImages) -> None:
    count = _hypercube(dataset).grammar.count()
    if count > MOST_WORDS:
        raise UsageError(
            f"the population loss enumerates every word: at most {MOST_WORDS:,}, not {count:,}"
        )
