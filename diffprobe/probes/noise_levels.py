"""Which noise levels a probe visits, and the noisy inputs it visits them with."""

from bisect import bisect_left

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.seeding import generator


def spread_levels(denoiser: Denoiser, n: int) -> Tensor:
    """Return up to `n` timesteps evenly spread in log-SNR over the schedule, noisiest first.

    Raises:
        UsageError: If `n` is less than 1.
    """
    if n < 1:
        raise UsageError(f"the number of noise levels must be at least 1, not {n}")
    log_snr = denoiser.log_snr(torch.arange(denoiser.timesteps))
    wanted = torch.linspace(log_snr[-1].item(), log_snr[0].item(), n, dtype=log_snr.dtype)
    nearest = (log_snr[None] - wanted[:, None]).abs().argmin(1)
    levels: Tensor = nearest.unique().flip(0)
    return levels


def noisy_inputs(
    denoiser: Denoiser, dataset: SymbolImages, n: int, t: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return `n` images of valid words and their noisy versions at level `t`.

    The words and the noise do not depend on the level or the denoiser, so that curves over levels
    and differences between denoisers are measured on the same draws.

    Returns:
        words (n, L) long, and x_t (n, 1, H, W), on the denoiser's device.
    """
    device = denoiser.device
    random = generator(seed, "probe")
    words = dataset.grammar.sample(n, random)
    x_0 = dataset.draw(words, random).to(device)
    eps = torch.randn(x_0.shape, generator=random).to(device)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=device))
    return words.to(device), alpha * x_0 + sigma * eps


def symbols_form_at(denoiser: Denoiser, dataset: SymbolImages, n: int = 256, seed: int = 0) -> int:
    """Return the noise level at which symbols form.

    It is the cleanest level at which a reader of single cells still has half of its uncertainty:
    the mean entropy of p(symbol | noisy cell), under the grammar's own marginals, reaches half of
    what it is without the image.

    Returns:
        A timestep t.
    """
    marginals = dataset.grammar.symbol_marginals().float()
    half = torch.special.entr(marginals).sum(-1).mean().item() / 2

    def uncertainty(t: int) -> float:
        _, x_t = noisy_inputs(denoiser, dataset, n, t, seed)
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device))
        scores = dataset.evidence(x_t, alpha.flatten(), sigma.flatten())
        posterior = (scores + marginals.to(scores).log()).softmax(-1)
        return float(torch.special.entr(posterior).sum(-1).mean())

    # More noise, more uncertainty.
    return bisect_left(range(denoiser.timesteps - 1), half, key=uncertainty)
