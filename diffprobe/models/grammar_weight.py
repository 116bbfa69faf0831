"""Where on the noise axis the grammar lives.

Its weight per unit log-SNR is ½ snr E‖D_product − D_Bayes‖²: what a denoiser that knows the grammar
is worth, in nats, beside one that knows each cell's symbols. Its integral over log-SNR is the
grammar's total correlation (I-MMSE: Guo, Shamai & Verdú, arXiv:cs/0412108).
"""

from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.devices import in_double
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser


@torch.no_grad()
def grammar_weights(
    dataset: SymbolImages, scheduler: Any, x_0: Tensor, eps: Tensor, levels: Tensor
) -> Tensor:
    """Return ½ snr ‖D_product − D_Bayes‖² of the same draws at each noise level.

    Args:
        dataset: Whose grammar and glyphs the oracles know.
        scheduler: A diffusers scheduler; what a level means.
        x_0, eps: (N, C, H, W), images of valid words and standard normal noise, on one device.
        levels: (T,) long, timesteps.

    Returns:
        (T, N) float64 on the CPU, nats per unit log-SNR.
    """
    bayes = BayesDenoiser(dataset, scheduler).to(x_0.device)
    product = ProductDenoiser(dataset, scheduler).to(x_0.device)
    found = []
    for t in levels.tolist():
        level = torch.full((len(x_0),), t, device=x_0.device)
        alpha, sigma = bayes.alpha_sigma(level[:1])
        x_t = alpha * x_0 + sigma * eps
        square = in_double(product(x_t, level) - bayes(x_t, level)).square()
        found.append(square.sum((1, 2, 3)))
    return torch.stack(found).cpu() * bayes.log_snr(levels).exp().cpu()[:, None] / 2
