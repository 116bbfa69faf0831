"""The population loss: every word, each with its own draw of antithetic noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser

# Words of the language that are enumerated at most, each with every draw of the noise.
MOST_WORDS = 2**12
# Noisy images held at once.
CHUNK_INPUTS = 2**12


@dataclass(frozen=True)
class Losses:
    """Losses at one level for each of P antithetic pairs: (S, P) of networks, (P,) of oracles."""

    network: Tensor
    product: Tensor
    bayes: Tensor
    to_product: Tensor


class Population:
    """Every word of the language, and a fixed draw of antithetic noise for each.

    Args:
        dataset: Whose words.
        denoiser: Lends its schedule and device.
        draws: Of the noise for each word; even.
        seed: Of the draw.
    """

    def __init__(self, dataset: SymbolImages, denoiser: Denoiser, draws: int, seed: int) -> None:
        self.device = denoiser.device
        words = dataset.grammar.words(MOST_WORDS)
        self.x_0 = dataset.render(words).to(self.device)
        self.probability = dataset.grammar.probability(words).to(self.device)
        random = generator(seed, "two layers")
        self.eps = torch.randn(draws // 2, *self.x_0.shape, generator=random)
        self.bayes = BayesDenoiser(dataset, denoiser.scheduler).to(self.device)
        self.product = ProductDenoiser(dataset, denoiser.scheduler).to(self.device)

    def losses(self, networks: list[Denoiser], t: int) -> Losses:
        """Return the losses of networks and oracles at level `t`."""
        alpha, sigma = self.bayes.alpha_sigma(torch.tensor([t], device=self.device))
        found = []
        for eps in self.eps.split(max(1, CHUNK_INPUTS // (2 * len(self.x_0)))):
            noise = torch.stack([eps, -eps], 1).to(self.device)
            x_t = (alpha * self.x_0 + sigma * noise).flatten(0, 2)
            found.append(self._losses_at(networks, x_t, t))
        rows = torch.cat(found, -1).cpu()
        s = len(networks)
        return Losses(rows[:s], rows[2 * s], rows[2 * s + 1], rows[s : 2 * s])

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
