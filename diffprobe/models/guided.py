"""Guidance: by the exact posterior, and classifier-free.

By the exact posterior, it is the upper bound of what guidance can do.

The Bayes and product oracles are the posterior means of the grammar and of independent cells. By
Tweedie's formula their difference is the gradient of the log odds between the two,

    D_Bayes - D_product = sigma² / alpha · grad_x log p(word is valid | x_t),

p being that of independent cells: what guidance by a classifier (Dhariwal & Nichol,
arXiv:2105.05233) would follow if its classifier were exact. Hence

    x0_hat = D + weight (D_Bayes - D_product).

With weight 1 a perfectly local denoiser becomes the optimum; one that uses a share gamma of the
grammar does so with weight 1 - gamma.

Classifier-free guidance (Ho & Salimans, arXiv:2207.12598, eq. 6) goes by what the same denoiser
makes of an image with a condition c and without,

    x0_hat = D_c + weight (D_c - D),

and is exact where both are. The scale that diffusers' pipelines take is 1 + weight.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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


class ClassifierFreeDenoiser(Denoiser):
    """A denoiser with a condition, moved away from what it makes of an image without one.

    Args:
        told: With the condition.
        plain: Without.
        weight: How far; 0 leaves `told` as it is.
    """

    def __init__(self, told: Denoiser, plain: Denoiser, weight: float) -> None:
        super().__init__(told.scheduler, image_shape=told.image_shape, cells=told.cells)
        self.told, self.plain, self.weight = told, plain, weight
        self.to(told.device)

    @contextmanager
    def _both_checked(self) -> Iterator[None]:
        with self.told.checked_together(), self.plain.checked_together():
            yield

    def checked_together(self) -> AbstractContextManager[None]:
        """Return the context of both denoisers within."""
        return self._both_checked()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guided estimate of x_0; see `Denoiser.forward`."""
        told: Tensor = self.told(x_t, t)
        away: Tensor = told - self.plain(x_t, t)
        return told + self.weight * away
