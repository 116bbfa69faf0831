"""What the neurons of a two-layer network serve: coordinates, or parity directions.

Of each neuron's weights w from the image, as cosines:

    with the nearest coordinate          max_i |w_i| / ‖w‖_2
    with the nearest parity direction    max over s in {-1, +1}^d of <w, s> / (√d ‖w‖_2)
                                         = ‖w‖_1 / (√d ‖w‖_2)

Neurons that serve single coordinates compute a sum of functions of one pixel each: the product
oracle, and no parity. A parity needs neurons that mix all pixels. Shares of neurons are counted
alike and weighted by what a neuron contributes, ‖w_in‖ ‖w_out‖. Random directions are the chance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.seeding import generator
from diffprobe.models.modules.mlp import MLP

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


def what_neurons_serve(networks: list[MLP]) -> Neurons:
    """Return what the neurons of networks of two layers serve."""
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


def chance(pixels: int, threshold: float, seed: int) -> dict[str, float]:
    """Return the statistics of directions that know nothing, in and out independent."""
    random = generator(seed, "random directions")
    into, out = torch.randn(2, 1, RANDOM_DIRECTIONS, pixels, generator=random)
    coordinate, parity = _cosines(into)
    null = Neurons(
        coordinate=coordinate,
        parity=parity,
        same_coordinate=into.abs().argmax(-1) == out.abs().argmax(-1),
        contribution=torch.full_like(coordinate, 1 / RANDOM_DIRECTIONS),
    )
    statistics = null.statistics(threshold)
    return {name: float(value[0, 0]) for name, value in statistics.items()}
