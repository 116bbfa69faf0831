"""What is kept along a sampling path: running means, so that more steps need no more memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffprobe.datasets import SymbolImages
from diffprobe.foundations.devices import in_double
from diffprobe.foundations.errors import UsageError
from diffprobe.models.denoiser import Denoiser
from diffprobe.sampling import Given


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


class Trajectories:
    """Takes the variance of x0_hat over windows of the path, as the `watch` of `sample`.

    Several windows cost one pass, and two images a sample each.

    Args:
        timesteps: Noise levels of the schedule.
        windows: W parts of the path, each from 0 (noise) to 1 (image) in timesteps, ends included.
    """

    def __init__(self, timesteps: int, windows: Sequence[tuple[float, float]]) -> None:
        self.timesteps, self.windows = timesteps, list(windows)
        self._batches: list[list[Running]] = []

    def __call__(self, index: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        """Take in one step of batch `index`: the level () and x0_hat, (B, C, H, W)."""
        if index == len(self._batches):
            self._batches.append([Running() for _ in self.windows])
        passed = 1 - int(level) / (self.timesteps - 1)
        for (low, high), running in zip(self.windows, self._batches[index], strict=True):
            if low <= passed <= high:
                running.add(x0_hat)

    @property
    def variance(self) -> Tensor:
        """Mean squared distance from the mean over each window: (W, N, C, H, W).

        Raises:
            UsageError: If the path has fewer than two steps in a window.
        """
        for (low, high), running in zip(self.windows, self._batches[0], strict=True):
            _check_steps(running, 2, f"in probes.detectors.window=[{low}, {high}]")
        return torch.cat(
            [torch.stack([running.variance for running in batch]) for batch in self._batches], 1
        )


@dataclass
class PathOfBatch:
    """What is kept of B samples along their path.

    Attributes:
        entropy: Of the symbols read, over the noisy steps, (B,).
        to_product, to_bayes: Distances, over the steps where the grammar lives, (B,).
        worth: That of the two oracles from each other, (B,).
        x_t: (B, C, H, W) at the level t, the one visited nearest to where the probe looks.
    """

    x_t: Tensor
    t: int
    entropy: Running = field(default_factory=Running)
    to_product: Running = field(default_factory=Running)
    to_bayes: Running = field(default_factory=Running)
    worth: Running = field(default_factory=Running)


class SamplingPath:
    """Looks along the sampling path, batch after batch, as the `watch` of `sample`.

    Args:
        dataset: Whose glyphs the soft reading knows.
        bayes, product: The oracles whose distance is taken.
        level: The timestep near which x_t is kept, and down to which entropies are taken.
        window: The part of the path whose variance is taken, from 0 (noise) to 1 (image).
        living: The range of timesteps in which distances are taken.
        given: Cells that are clean along the path, if any are.
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
        given: Given | None = None,
    ) -> None:
        self.dataset, self.bayes, self.product = dataset, bayes, product
        self.level, self.living, self.given = level, living, given
        self.trajectories = Trajectories(bayes.timesteps, [window])
        self.batches: list[PathOfBatch] = []

    def __call__(self, index: int, level: Tensor, x_t: Tensor, x0_hat: Tensor) -> None:
        """Take in one step of batch `index`: the level (), x_t and x0_hat, both (B, C, H, W)."""
        t = int(level)
        if index == len(self.batches):
            self.batches.append(PathOfBatch(x_t, t))
        batch = self.batches[index]
        if abs(t - self.level) < abs(batch.t - self.level):
            batch.t, batch.x_t = t, x_t
        self.trajectories(index, level, x_t, x0_hat)
        if t >= self.level:
            batch.entropy.add(symbol_entropy(self.dataset, x0_hat))
        if self.living[0] <= t <= self.living[1]:
            levels = level.expand(len(x_t))
            half_snr = self.bayes.log_snr(level[None]).exp().item() / 2
            if self.given is not None:
                first = sum(len(batch.x_t) for batch in self.batches[:index])
                places = torch.arange(first, first + len(x_t))
                levels = self.given.part(places, x_t.device).levels(levels)
            bayes, product = (oracle(x_t, levels) for oracle in (self.bayes, self.product))
            for kept, one, other in (
                (batch.to_product, x0_hat, product),
                (batch.to_bayes, x0_hat, bayes),
                (batch.worth, bayes, product),
            ):
                kept.add(half_snr * in_double(one - other).square().sum((1, 2, 3)))

    def check(self) -> None:
        """Raise UsageError where the path has too few steps for a score."""
        first, (low, high) = self.batches[0], self.living
        _check_steps(first.entropy, 1, f"with more noise than t={self.level}")
        _check_steps(first.to_bayes, 1, f"where the grammar lives, t={low} to {high}")


def _check_steps(running: Running, least: int, where: str) -> None:
    if running.count < least:
        raise UsageError(
            f"the sampler takes {running.count} steps {where}, of {least} needed; "
            "raise sampling.steps"
        )


def symbol_entropy(dataset: SymbolImages, x0_hat: Tensor) -> Tensor:
    """Entropy in nats of the soft reading, mean over cells: (N,)."""
    x0_hat, dataset = dataset.pictures(x0_hat), dataset.plain
    # A mean over values within tau is a sum over values within tau sqrt(values).
    values = dataset.glyphs.images[0, 0].numel()
    tau = x0_hat.new_tensor([dataset.glyphs.radius * values**0.5])
    scores = dataset.evidence(x0_hat, torch.ones_like(tau), tau)
    entropy: Tensor = torch.special.entr(scores.softmax(-1)).sum(-1).mean(1)
    return entropy
