"""Which noise levels a probe visits, and the noisy inputs it visits them with."""

from bisect import bisect_left

import torch
from torch import Tensor

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.models.denoiser import Denoiser

# How far outside the schedule a log-SNR may lie: the ends are told to two places.
OUTSIDE = 0.01


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


def clean_inputs(
    images: SymbolImages | ImageSet, n: int, seed: int, block: int = 0
) -> tuple[Tensor, Tensor]:
    """Return `n` clean images and the noise that a probe adds to them, (n, C, H, W) each.

    Neither depends on the level or the denoiser, so that curves over levels and differences
    between denoisers are measured on the same draws. Another `block` gives fresh ones.
    """
    random = generator(seed, "probe", block)
    x_0 = images.draw_images(n, random)
    return x_0, torch.randn(x_0.shape, generator=random)


def noisy_inputs(
    denoiser: Denoiser,
    images: SymbolImages | ImageSet,
    n: int,
    t: int,
    seed: int,
    block: int = 0,
) -> Tensor:
    """Return the images of `clean_inputs` at noise level `t`: (n, C, H, W) on the device.

    Raises:
        UsageError: If the denoiser has no such level.
    """
    check_level(denoiser, t)
    x_0, eps = (x.to(denoiser.device) for x in clean_inputs(images, n, seed, block))
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
    return alpha * x_0 + sigma * eps


def input_sources(images: SymbolImages | ImageSet, n: int, seed: int, blocks: int = 1) -> Tensor:
    """Return what each of `clean_inputs` was made from, over `blocks` of `n`: (blocks · n,) long.

    Words are drawn anew for each input; of a set of images the same one may be drawn again.
    """
    if isinstance(images, SymbolImages):
        return torch.arange(blocks * n)
    drawn = [images.draw_sources(n, generator(seed, "probe", block)) for block in range(blocks)]
    return torch.cat(drawn)


def check_images(n: int) -> None:
    """Raise UsageError unless `n`, the setting `probe.images`, is enough for an error."""
    if n < 2:
        raise UsageError(f"probe.images must be at least 2 for an error, not {n}")


def check_level(denoiser: Denoiser, t: int) -> None:
    """Raise UsageError unless `t` is a noise level of the denoiser's schedule."""
    if not 0 <= t < denoiser.timesteps:
        raise UsageError(f"noise level t={t} is outside 0 … {denoiser.timesteps - 1}")


def nearest_level(denoiser: Denoiser, log_snr: float) -> int:
    """Return the timestep whose log-SNR is nearest to `log_snr`.

    Raises:
        UsageError: If the schedule does not reach so far.
    """
    known = denoiser.log_snr(torch.arange(denoiser.timesteps))
    low, high = known.min().item(), known.max().item()
    if not low - OUTSIDE <= log_snr <= high + OUTSIDE:
        raise UsageError(f"log-SNR {log_snr:g} is outside the schedule's {low:.2f} … {high:.2f}")
    return int((known - log_snr).abs().argmin())


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
        x_t = noisy_inputs(denoiser, dataset, n, t, seed)
        alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=x_t.device))
        scores = dataset.evidence(x_t, alpha.flatten(), sigma.flatten())
        posterior = (scores + marginals.to(scores).log()).softmax(-1)
        return float(torch.special.entr(posterior).sum(-1).mean())

    # More noise, more uncertainty.
    return bisect_left(range(denoiser.timesteps - 1), half, key=uncertainty)
