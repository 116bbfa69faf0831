"""What the grammar is worth over the noise levels of a subject, and which levels that chooses.

The weight is that of `diffprobe.models.grammar_weight`, on the inputs of the probes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.grammar_weight import grammar_weights
from diffprobe.probing.noise_levels import check_level, clean_inputs, spread_levels


@dataclass(frozen=True, eq=False, repr=False)
class GrammarWeight:
    """What the grammar is worth at T noise levels.

    Attributes:
        levels: (T,) long, noisiest first.
        weight: (T,) float64, nats per unit log-SNR.
    """

    levels: Tensor
    weight: Tensor

    def __repr__(self) -> str:
        return f"<GrammarWeight at {len(self.levels)} noise levels, most at t = {self.most}>"

    @classmethod
    def of(
        cls, denoiser: Denoiser, dataset: SymbolImages, config: ProbeConfig | None = None
    ) -> "GrammarWeight":
        """Measure it; the denoiser lends its schedule and device.

        Args:
            denoiser: Of any kind.
            dataset: Whose grammar is meant.
            config: `grammar_levels`, `grammar_images`, `seed`.
        """
        config = config or ProbeConfig()
        levels = spread_levels(denoiser, config.grammar_levels)
        weight = grammar_weight(denoiser, dataset, levels, config.grammar_images, config.seed)
        return cls(levels, weight)

    @property
    def most(self) -> int:
        """The level where the grammar is worth most."""
        return int(self.levels[self.weight.argmax()])

    def above(self, share: float) -> Tensor:
        """Return the levels whose weight is at least `share` of the largest."""
        return self.levels[self.weight >= share * self.weight.max()]

    def carrying(self, share: float) -> Tensor:
        """Return the levels that carry `share` of the weight.

        A range without holes, and one level more at each end: there must be something to integrate.
        """
        order = self.weight.argsort(descending=True)
        cumulative = self.weight[order].cumsum(0) / self.weight.sum().clamp(min=1e-300)
        kept = order[: int((cumulative < share).sum()) + 1]
        return self.levels[max(0, int(kept.min()) - 1) : int(kept.max()) + 2]

    def middles(self, n: int) -> Tensor:
        """Return the middles of n equal shares of what the grammar is worth, noisiest first."""
        share = self.weight.cumsum(0)
        middles = (torch.arange(n, dtype=share.dtype) + 0.5) / n * share[-1]
        return self.levels[torch.searchsorted(share.cpu(), middles).unique()]


def grammar_weight(
    denoiser: Denoiser, dataset: SymbolImages, levels: Tensor, n: int = 256, seed: int = 0
) -> Tensor:
    """Return ½ snr E‖D_product − D_Bayes‖² at each of `levels (T,)`: (T,).

    On the same `n` words and noise at all levels, so that the curve is smooth; the denoiser lends
    its schedule and device.
    """
    return weight_of_draws(denoiser, dataset, levels, n, seed).mean(1)


def weight_of_draws(
    denoiser: Denoiser, dataset: SymbolImages, levels: Tensor, n: int, seed: int
) -> Tensor:
    """Return ½ snr ‖D_product − D_Bayes‖² of `n` draws, the same at all `levels (T,)`: (T, n)."""
    for t in levels.tolist():
        check_level(denoiser, t)
    x_0, eps = (x.to(denoiser.device) for x in clean_inputs(dataset, n, seed))
    return grammar_weights(dataset, denoiser.scheduler, x_0, eps, levels)
