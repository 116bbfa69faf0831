"""Guidance by the exact posterior: the upper bound of what guidance can do.

The Bayes and product oracles are the posterior means of the grammar and of independent cells. By
Tweedie's formula their difference is the gradient of the log odds between the two,

    D_Bayes - D_product = sigma² / alpha · grad_x log p(word is valid | x_t),

p being that of independent cells: what guidance by a classifier (Dhariwal & Nichol,
arXiv:2105.05233) would follow if its classifier were exact. Hence

    x0_hat = D + weight (D_Bayes - D_product).

With weight 1 a perfectly local denoiser becomes the optimum; one that uses a share gamma of the
grammar does so with weight 1 - gamma.
"""

from contextlib import AbstractContextManager

from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser


class GuidedDenoiser(Denoiser):
    """A denoiser moved along the way from the product oracle to the Bayes oracle.

    Args:
        denoiser: In pixel space; of the same images.
        dataset: Whose grammar guides.
        weight: How far; 0 leaves the denoiser as it is.
    """

    def __init__(self, denoiser: Denoiser, dataset: SymbolImages, weight: float) -> None:
        super().__init__(denoiser.scheduler, image_shape=dataset.image_shape, cells=denoiser.cells)
        self.denoiser = denoiser
        self.bayes = BayesDenoiser(dataset, denoiser.scheduler)
        self.product = ProductDenoiser(dataset, denoiser.scheduler)
        self.weight = weight
        self.to(denoiser.device)

    def checked_together(self) -> AbstractContextManager[None]:
        """Return the context of the denoiser within."""
        return self.denoiser.checked_together()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guided estimate of x_0; see `Denoiser.forward`."""
        along: Tensor = self.bayes(x_t, t) - self.product(x_t, t)
        guided: Tensor = self.denoiser(x_t, t) + self.weight * along
        return guided
