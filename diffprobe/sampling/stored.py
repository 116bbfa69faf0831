"""One of the samples that a run has stored, and where its path from noise to image passed.

A path is not stored. That of a sampler without fresh noise follows from the seed: it is walked
again, for this image alone, and believed if it ends in the stored image.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import build_kind
from diffprobe.models.denoiser import Denoiser
from diffprobe.sampling.samples import Samples, load_samples, samples_prefix
from diffprobe.training.run_folder import RunFolder

SAME_IMAGE = 0.05  # largest difference of a pixel; other noise makes some of 2
NEAR = 0.5  # of log-SNR: a path that passes no level so near is not used


@dataclass(frozen=True)
class StoredSample:
    """A sample of a run's checkpoint, made noisy.

    Attributes:
        file: Where it is stored.
        index: Its place there, from 0.
        x_0: (1, C, H, W), as stored.
        x_t: (1, C, H, W), the same with noise, on the denoiser's device.
        t: Its noise level.
        path: (S, C, H, W), what the sampler came by, from noise to image, `x_t` among it; empty
            where that is not known, and the noise on `x_t` is fresh.
        levels: (S,) long, the noise levels of the path.
    """

    file: Path
    index: int
    x_0: Tensor
    x_t: Tensor
    t: int
    path: Tensor
    levels: Tensor

    @property
    def on_path(self) -> bool:
        """Whether `x_t` is what the sampler came by."""
        return len(self.levels) > 0


def stored_sample(
    run: RunFolder,
    step: int | None,
    weights: str,
    index: int,
    denoiser: Denoiser,
    t: int,
    seed: int = 0,
) -> StoredSample:
    """Return a sample of the newest file that a checkpoint's weights made, at a noise level.

    Args:
        run: The run.
        step: Of the checkpoint.
        weights: Which of its weights.
        index: Place of the sample in its file, from 0.
        denoiser: The checkpoint's, with these weights.
        t: The noise level wanted; where the sample's path can be walked again, the level there
            that is nearest.
        seed: Of the noise where it cannot.

    Raises:
        UsageError: If there is no file of that checkpoint and weights, it holds no such sample, or
            the sample does not fit the denoiser or is not finite.
    """
    file = _newest(run, step, weights)
    samples = load_samples(file)
    if not 0 <= index < len(samples.images):
        raise UsageError(
            f"sample {index} is outside 0 … {len(samples.images) - 1}: {file} holds "
            f"{len(samples.images):,}"
        )
    x_0 = samples.images[index : index + 1]
    if tuple(x_0.shape[1:]) != denoiser.image_shape:
        raise UsageError(
            f"the samples in {file} are {tuple(x_0.shape[1:])} (C, H, W); the denoiser takes "
            f"{denoiser.image_shape}"
        )
    if not x_0.isfinite().all():
        raise UsageError(f"sample {index} of {file} holds values that are not finite")
    if (walked := _walked(denoiser, samples, index, t)) is not None:
        path, levels, at = walked
        return StoredSample(file, index, x_0, path[at : at + 1], int(levels[at]), path, levels)
    random = generator(seed, "noise on a sample", index)
    eps = torch.randn(x_0.shape, generator=random).to(denoiser.device)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([t], device=denoiser.device))
    x_t = alpha * x_0.to(denoiser.device) + sigma * eps
    nothing = torch.empty(0, *x_t.shape[1:]), torch.empty(0, dtype=torch.long)
    return StoredSample(file, index, x_0, x_t, t, *nothing)


def _newest(run: RunFolder, step: int | None, weights: str) -> Path:
    every = sorted((run.path / "samples").glob("*.npz"), key=lambda path: path.stat().st_mtime)
    ours = [path for path in every if path.name.startswith(samples_prefix(step, weights))]
    if ours:
        return ours[-1]
    others = f" (the newest it has is {every[-1].name})" if every else ""
    checkpoint = run.path if step is None else run.checkpoint_path(step)
    at = "this checkpoint" if step is None else f"step {step:,}"
    raise UsageError(
        f"{run.path} has no samples of {at} with weights {weights}{others}; make some: "
        f"diffprobe sample {checkpoint} --weights {weights}"
    )


@torch.no_grad()
def _walked(
    denoiser: Denoiser, samples: Samples, index: int, t: int
) -> tuple[Tensor, Tensor, int] | None:
    """Return x_t and t along a sample's path, and its step nearest to `t`, if that can be told."""
    how = samples.sampler
    try:
        path = build_kind("sampler", how["sampler"], "sampler").path(  # type: ignore[attr-defined]
            denoiser.schedule, how["steps"]
        )
        batch, row = divmod(index, how["batch_size"])
        n = min(how["batch_size"], how["n"] - batch * how["batch_size"])
        random = generator(how["seed"], "sampling", batch, denoiser.device)
    except (KeyError, TypeError, UsageError):
        return None  # made by somebody else, or by a sampler of another version
    levels = path.levels
    if levels.ndim != 1:
        return None
    distance = (denoiser.log_snr(levels) - denoiser.log_snr(torch.tensor([t]))).abs()
    if distance.min() > NEAR:
        return None
    nearest = int(distance.argmin())
    noise = torch.randn((n, *denoiser.image_shape), generator=random, device=denoiser.device)
    x, passed = path.start(noise[row : row + 1]), []
    for step, level in enumerate(levels):
        x_t = path.model_input(x, step)
        passed.append(x_t)
        x = path.advance(x, x_t, denoiser(x_t, level[None]), step, random)
    end = (x.cpu() - samples.images[index]).abs().max()
    return (torch.cat(passed), levels, nearest) if end <= SAME_IMAGE else None
