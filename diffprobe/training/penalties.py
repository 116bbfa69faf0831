"""What an objective may ask of a network beside the regression."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser

# Where a batch holds fewer nats per unit log-SNR and image, it says nothing about the grammar.
NIL = 1e-5


@dataclass(frozen=True)
class Prediction:
    """What a network made of a batch.

    Attributes:
        x_t: (B, C, H, W), with a gradient where a penalty asks for it.
        t: (B,) long, or as the network takes it.
        x0_hat: (B, C, H, W).
        alpha, sigma: Of the noise, broadcast to `x_t`.
    """

    x_t: Tensor
    t: Tensor
    x0_hat: Tensor
    alpha: Tensor
    sigma: Tensor


class Penalty(Protocol):
    """Something to make small."""

    needs_gradient: bool

    def to(self, device: torch.device) -> "Penalty":
        """Move what it needs to a device."""

    def __call__(self, prediction: Prediction, generator: torch.Generator) -> Tensor:
        """Return it: ()."""


class ScoreVariance:
    """Variance-guided score modulation: a penalty on scores that change too little.

        mean over images and pixels i of   1 / sigma_t · 1 / (1 + J_ii²),   J = ∂ score / ∂ x_t

    A score with a small Jacobian is too smooth, and joins modes that should be apart. In the paper
    a network has a second output, the variance of the reverse step, and J_ii is minus one over it.
    Networks here have no such output: J_ii is of the network's own score, estimated as
    v_i (vᵀ J)_i with one vector v of random signs an image.

    Reference:
        Bhosale et al., "Score-control for hallucination reduction in diffusion models",
        arXiv:2606.00377; with the time-dependent weight of the code published with it. Not checked
        against the paper's own formula. Where that code takes the Jacobian from a variance that its
        network learns, this one estimates the diagonal of the network's own.
    """

    needs_gradient = True

    def to(self, device: torch.device) -> "ScoreVariance":
        """Return itself: there is nothing to move."""
        return self

    def __call__(self, prediction: Prediction, generator: torch.Generator) -> Tensor:
        """Return the penalty, in [0, 1 / sigma]."""
        p = prediction
        score = (p.alpha * p.x0_hat - p.x_t) / p.sigma.square()
        signs = torch.randint(2, score.shape, generator=generator, device=score.device) * 2 - 1
        (row,) = torch.autograd.grad((score * signs).sum(), p.x_t, create_graph=True)
        return ((1 / (1 + (signs * row).square())) / p.sigma).mean()


class FromProduct:
    """A penalty on denoisers that are nearer to the product oracle than the optimum is.

    With a = D_Bayes − D_product, gamma is the share of the grammar that is used, over a batch,

        gamma = sum snr <D_net − D_product, a> / sum snr ‖a‖²,

    and with the shortfall s = max(0, 1 − gamma) the penalty is s² / (1 + s²): 0 for the optimum
    and whatever goes beyond it, ½ for the product oracle, and always below 1, since on a batch in
    which the grammar is worth little gamma is noise.

    Args:
        dataset: Whose grammar and glyphs the oracles know.
        scheduler: A diffusers scheduler; what `t` means.
    """

    needs_gradient = False

    def __init__(self, dataset: SymbolImages, scheduler: Any) -> None:
        self.bayes = BayesDenoiser(dataset, scheduler)
        self.product = ProductDenoiser(dataset, scheduler)

    def to(self, device: torch.device) -> "FromProduct":
        """Move the oracles to a device."""
        self.bayes.to(device)
        self.product.to(device)
        return self

    def __call__(self, prediction: Prediction, generator: torch.Generator) -> Tensor:
        """Return the penalty, in [0, 1)."""
        p = prediction
        with torch.no_grad():
            product = self.product(p.x_t, p.t)
            axis = self.bayes(p.x_t, p.t) - product
            snr = (p.alpha / p.sigma).square()
            worth = (snr * axis.square()).sum()
        if float(worth) / 2 < NIL * len(p.x_t):
            return torch.zeros_like(worth)
        gamma = (snr * (p.x0_hat - product) * axis).sum() / worth
        shortfall: Tensor = (1 - gamma).clamp(min=0).square()
        return shortfall / (1 + shortfall)
