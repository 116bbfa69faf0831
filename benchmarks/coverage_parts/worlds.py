"""The languages whose numbers are told, each with a network trained for a moment, and oracles."""

from dataclasses import dataclass

import torch

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.digit_sum import DigitSumConfig
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.models import (
    BayesDenoiser,
    Denoiser,
    NetworkDenoiser,
    ProductDenoiser,
    noise_scheduler,
)
from diffprobe.models.networks.residual_mlp import ResidualMLPConfig
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.probing.grammar_weight import grammar_weight
from diffprobe.probing.noise_levels import spread_levels

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))


@dataclass(frozen=True)
class World:
    """A language, its images, and what is measured on them.

    Attributes:
        name: Of the language.
        images: The dataset.
        network: Trained for a moment: neither local nor optimal.
        pool: Inputs of the population.
        exact: Whether the truth is from exact Jacobians, or from sixteen projections.
        levels: Timesteps, noisiest first.
        level: Where the grammar is worth most.
    """

    name: str
    images: SymbolImages
    network: Denoiser
    pool: int
    exact: bool
    levels: list[int]
    level: int

    @property
    def denoisers(self) -> dict[str, Denoiser]:
        """Network and oracles."""
        return {
            "network": self.network,
            "bayes": BayesDenoiser(self.images, SCHEDULER),
            "product": ProductDenoiser(self.images, SCHEDULER),
        }

    def at(self, t: int) -> str:
        """Language and level, in words."""
        return f"{self.name}, {self.network.log_snr(torch.tensor([t])).item():.2f}"


def world(name: str, scale: float = 1.0) -> World:
    """Return one of `NAMES`."""
    images, pool, exact = {
        "parity 6": (
            SymbolImages(ParityConfig(6).build(), Glyphs.font("01", (4, 4)), (1, 6)),
            10_000,
            True,
        ),
        "parity 8": (
            SymbolImages(ParityConfig(8).build(), Glyphs.font("01", (4, 4)), (1, 8)),
            10_000,
            True,
        ),
        "brackets": (
            SymbolImages(DyckConfig(8, 2).build(), Glyphs.font("()[]", (4, 4)), (1, 8)),
            4_000,
            True,
        ),
        "digit sums": (
            SymbolImages(DigitSumConfig().build(), Glyphs.digits(), (2, 2)),
            1_000,
            False,
        ),
    }[name]
    network = _trained(images, steps=max(20, int(400 * scale)))
    bayes = BayesDenoiser(images, SCHEDULER)
    spread = spread_levels(bayes, 15)
    log_snr = bayes.log_snr(spread)
    levels = spread[(log_snr > -7) & (log_snr < 3.5)]
    weight = grammar_weight(bayes, images, levels)
    level = int(levels[weight.argmax()])
    pool = max(600, int(pool * scale))
    return World(name, images, network, pool, exact, levels.tolist(), level)


NAMES = ("parity 6", "parity 8", "brackets", "digit sums")


def _trained(images: SymbolImages, steps: int) -> NetworkDenoiser:
    torch.manual_seed(0)
    return fit(ResidualMLPConfig(width=256, depth=2).build(images.image_shape), images, steps)


def fit(
    network: torch.nn.Module, images: SymbolImages, steps: int, rate: float = 1e-3
) -> NetworkDenoiser:
    """Train a network for a moment."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x_0 = images.draw_images(64, random)
        t = torch.randint(1000, (64,), generator=random)
        eps = torch.randn(x_0.shape, generator=random)
        target = SCHEDULER.get_velocity(x_0, eps, t)
        loss = (network(SCHEDULER.add_noise(x_0, eps, t), t).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return NetworkDenoiser(network.eval(), SCHEDULER).requires_grad_(False)
