"""What is kept along a sampling path: running means, so that more steps need no more memory."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.errors import UsageError
from diffprobe.models.denoiser import Denoiser


class Running:
    """Mean and variance of tensors that come one after another (Welford's recursion)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, value: Tensor) -> None:
        """Take in another tensor, of the same shape as the ones before."""
        self.count += 1
        change = value - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (value - self.mean)

    @property
    def variance(self) -> Tensor:
        """Mean squared distance from the mean, element by element."""
        return self.squares / self.count


@dataclass
class PathOfBatch:
    """What is kept of B samples along their path.

    Attributes:
        x0_hat: Over the steps in the window, (B, C, H, W).
        entropy: Of the symbols read, over the noisy steps, (B,).
        to_product, to_bayes: Distances, over the steps where the grammar lives, (B,).
        x_t: (B, C, H, W) at the level t, the one visited nearest to where the probe looks.
    """

    x_t: Tensor
    t: int
    x0_hat: Running = field(default_factory=Running)
    entropy: Running = field(default_factory=Running)
    to_product: Running = field(default_factory=Running)
    to_bayes: Running = field(default_factory=Running)


class SamplingPath:
    """Looks along the sampling path, batch after batch, as the `watch` of `sample`.

    Args:
        dataset: Whose glyphs the soft reading knows.
        bayes, product: The oracles whose distance is taken.
        level: The timestep near which x_t is kept, and down to which entropies are taken.
        window: The part of the path whose variance is taken, from 0 (noise) to 1 (image).
        living: The range of timesteps in which distances are taken.
    """

    def __init__(
        self,
        dataset: SymbolImages,
        bayes: Denoiser,
        product: Denoiser,
        *,
        level: int,
        window: tuple[float, float],
        living: tuple[int, int],
    ) -> None:
        self.dataset, self.bayes, self.product = dataset, bayes, product
        self.level, self.window, self.living = level, window, living
        self.batches: list[PathOfBatch] = []

    def __call__(self, index: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        """Take in one step of batch `index`: the level (), x_t and x0_hat, both (B, C, H, W)."""
        t = int(level)
        if index == len(self.batches):
            self.batches.append(PathOfBatch(x_t, t))
        batch = self.batches[index]
        if abs(t - self.level) < abs(batch.t - self.level):
            batch.t, batch.x_t = t, x_t
        passed = 1 - t / (self.bayes.timesteps - 1)
        if self.window[0] <= passed <= self.window[1]:
            batch.x0_hat.add(x0_hat)
        if t >= self.level:
            batch.entropy.add(symbol_entropy(self.dataset, x0_hat))
        if self.living[0] <= t <= self.living[1]:
            levels = level.expand(len(x_t))
            half_snr = self.bayes.log_snr(levels[:1]).exp().item() / 2
            for oracle, distance in (
                (self.product, batch.to_product),
                (self.bayes, batch.to_bayes),
            ):
                difference = (x0_hat - oracle(x_t, levels)).double()
                distance.add(half_snr * difference.square().sum((1, 2, 3)))

    def check(self) -> None:
        """Raise UsageError where the path has too few steps for a score."""
        first = self.batches[0]
        low, high = self.window
        for running, least, where in (
            (first.x0_hat, 2, f"in probe.detector_window=[{low}, {high}]"),
            (first.entropy, 1, f"with more noise than t={self.level}"),
            (first.to_bayes, 1, f"where the grammar lives, t={self.living[0]} to {self.living[1]}"),
        ):
            if running.count < least:
                raise UsageError(
                    f"the sampler takes {running.count} steps {where}, of {least} needed; "
                    "raise sampling.steps"
                )


def symbol_entropy(dataset: SymbolImages, x0_hat: Tensor) -> Tensor:
    """Entropy in nats of the soft reading, mean over cells: (N,)."""
    # A mean over pixels within tau is a sum over pixels within tau sqrt(pixels).
    height, width = dataset.glyphs.cell
    tau = x0_hat.new_tensor([dataset.glyphs.radius * (height * width) ** 0.5])
    scores = dataset.evidence(x0_hat, torch.ones_like(tau), tau)
    entropy: Tensor = torch.special.entr(scores.softmax(-1)).sum(-1).mean(1)
    return entropy
