"""Gamma and mu of denoisers whose place is known: those that know neither rule nor training set.

Parity of eight cells, a training set of 64 of its 128 words. Prints a table: mu alone, what eight
other sets of words give (placebos), and the difference that a probe tells.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FiniteWords
from diffprobe.foundations.records import interval
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import training_oracle
from diffprobe.probes.placement import place

SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
COLUMNS = ("gamma", "scale", "mu_raw", "mu_placebo", "mu")


class Known(Denoiser):
    """A function of oracles."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(SCHEDULER)
        self.function = function

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.function(x_t, t)


def main() -> None:
    world = SymbolImages(ParityConfig(8).build(), Glyphs.font("01"), (1, 8))
    stream = FiniteWords(world.grammar, 64)
    product, bayes = ProductDenoiser(world, SCHEDULER), BayesDenoiser(world, SCHEDULER)
    training = training_oracle(world, SCHEDULER, stream)
    assert training is not None
    print(f"{'':28}" + "".join(f"{name:20}" for name in COLUMNS))
    for name, denoiser in {
        "the constant 0": Known(lambda x_t, t: 0 * x_t),
        "0.8 × product": Known(lambda x_t, t: 0.8 * product(x_t, t)),
        "product at another level": Known(lambda x_t, t: product(x_t, (t - 60).clamp(min=0))),
        "half product, half Bayes": Known(lambda x_t, t: (product(x_t, t) + bayes(x_t, t)) / 2),
        "Bayes": bayes,
        "the training set's optimum": training,
    }.items():
        found = place.measure(denoiser, world, stream=stream).summary()
        print(f"{name:28}" + "".join(f"{interval(found[key]):20}" for key in COLUMNS), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
