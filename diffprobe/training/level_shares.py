"""How often each noise level is trained on: a share for each timestep."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.models.grammar_weight import grammar_weights
from diffprobe.models.oracles import ProductDenoiser

# Images, and levels spread evenly in log-SNR, at which the grammar's weight is measured.
IMAGES = 256
LEVELS = 41


def log_snr_shares(log_snr: Tensor) -> Tensor:
    """Return shares by which log-SNR is uniform between the ends of the schedule.

    Args:
        log_snr: (T,) of the levels, in nats.

    Returns:
        (T,) float64, summing to 1: how much log-SNR is nearer to a level than to any other.
    """
    middles = (log_snr[1:] + log_snr[:-1]).double() / 2
    edges = torch.cat([log_snr[:1].double(), middles, log_snr[-1:].double()])
    widths: Tensor = edges.diff().abs()
    return widths / widths.sum()


def logit_normal_shares(levels: int, mean: float, scale: float) -> Tensor:
    """Return shares by which logit(t / T) is normal: (T,) float64, summing to 1.

    Level t stands for the times from t / T to (t + 1) / T.

    Reference:
        Esser et al., "Scaling rectified flow transformers for high-resolution image synthesis",
        arXiv:2403.03206, equation 19.
    """
    edges = torch.linspace(0, 1, levels + 1, dtype=torch.float64).logit()
    shares: Tensor = torch.special.ndtr((edges - mean) / scale).diff()
    return shares / shares.sum()


def grammar_shares(dataset: SymbolImages, scheduler: Any) -> Tensor:
    """Return shares by which log-SNR has the density of the grammar's weight.

    The weight is measured at 41 levels, on 256 images that are always the same, and is linear in
    between.

    Args:
        dataset: The world.
        scheduler: A diffusers scheduler; what a level means.

    Returns:
        (T,) float64, summing to 1.

    Raises:
        UsageError: If there is no grammar: the symbols of a word are independent.
    """
    random = generator(0, "grammar levels")
    x_0 = dataset.draw_images(IMAGES, random)
    eps = torch.randn(x_0.shape, generator=random)
    schedule = ProductDenoiser(dataset, scheduler)
    log_snr = schedule.log_snr(torch.arange(schedule.timesteps))
    wanted = torch.linspace(float(log_snr[-1]), float(log_snr[0]), LEVELS, dtype=torch.float64)
    levels = (log_snr[None] - wanted[:, None]).abs().argmin(1).unique().flip(0)
    weight = grammar_weights(dataset, scheduler, x_0, eps, levels).mean(1)
    between = np.interp(log_snr.numpy(), log_snr[levels].numpy(), weight.numpy())
    shares = torch.from_numpy(between) * log_snr_shares(log_snr)
    if not math.isfinite(total := float(shares.sum())) or total <= NIL:
        raise UsageError(
            "objective.levels = 'grammar' follows the grammar's weight, and there is none: the "
            "symbols of a word are independent"
        )
    return shares / total


# Nats per unit log-SNR that are rounding errors.
NIL = 1e-6
