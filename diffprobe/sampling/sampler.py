"""Sampling from any denoiser with any sampler."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import Conditions
from diffprobe.datasets.stored_images import room
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress, as_progress
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import to_settings
from diffprobe.models.denoiser import Denoiser
from diffprobe.models.footprint import inputs_at_once
from diffprobe.models.guided import GuidedDenoiser
from diffprobe.models.told import tell
from diffprobe.sampling.given import Given
from diffprobe.sampling.paths import NoisePath
from diffprobe.sampling.samplers import SamplerKind
from diffprobe.sampling.samples import Samples


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    image_shape: tuple[int, int, int],
    sampler: SamplerKind,
    sampling: SamplingConfig,
    progress: Progress | bool = True,
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
    *,
    dataset: SymbolImages | None = None,
    given: Given | None = None,
    conditions: Conditions | None = None,
) -> Samples:
    """Draw images.

    Args:
        denoiser: A network or an oracle; its device is where the images are made.
        image_shape: C, H, W.
        sampler: How to get from noise to images.
        sampling: Number of steps, how many images, batch size, seed, guidance, rejection.
        progress: Whether to show it, or what is called as tqdm is.
        watch: Called at every step with the number of the batch, the noise level t (), x_t and
            x0_hat, both (B, C, H, W), to look along the path.
        dataset: Whose grammar guides, whose reader rejects and whose words `sampling.given` are;
            needed for these alone.
        given: Cells that stay as they are, in place of those that `sampling.given` says; the others
            are sampled on this condition.
        conditions: What can be told of the dataset's words; needed for `sampling.condition`.

    Returns:
        `sampling.n` images on the CPU, or in a temporary file where memory does not hold them, and
        the resolved sampler with its price; see `Samples`.

    Raises:
        MemoryLimitError: If a budget does not hold a single image's activations.
        UsageError: If the sampler is not for this denoiser or cannot be watched, a number is out of
            range, given cells do not fit the images, guidance and rejection have no dataset of
            such images, or the denoiser takes no condition and one is asked for.
    """
    _check(sampling, denoiser.timesteps, watch is not None)
    if given is None and sampling.given:
        world = _known(dataset, image_shape, "given")
        given = Given.read(sampling.given, world, sampling.n, sampling.seed)
    if given is not None:
        given.check(sampling.n, image_shape)
    told = _told(sampling, dataset, image_shape, conditions)
    if sampling.guidance and told is None:
        denoiser = GuidedDenoiser(
            denoiser, _known(dataset, image_shape, "guidance"), sampling.guidance
        )
    judge = _known(dataset, image_shape, "rejection") if sampling.rejection else None
    path = sampler.path(denoiser.schedule, sampling.steps)
    if watch is not None and path.levels.ndim == 2:
        raise UsageError(
            f"sampler {sampler.name} visits many noise levels at once, and what looks along the "
            "path needs one: choose another sampler"
        )
    at_once = inputs_at_once(denoiser, image_shape, sampling.batch_size)

    def at(places: Tensor) -> Denoiser:
        if told is None:
            return denoiser
        return tell(denoiser, told[places], conditions, sampling.guidance)

    walk = _Walk(at, denoiser, path, at_once, watch, given)
    images = room((sampling.n, *image_shape))
    # The batches, and in each the places that are still to be drawn.
    left = {
        index: torch.arange(min(sampling.batch_size, sampling.n - first))
        for index, first in enumerate(range(0, sampling.n, sampling.batch_size))
    }
    draws = 0
    for turn in range(1 + sampling.rejection):
        # A sampler may look more often than it steps.
        bar = as_progress(progress)(
            total=len(left) * len(path.levels),
            desc=f"draw again, {turn} of {sampling.rejection}" if turn else "sample",
            unit="step",
        )
        refused = {}
        for index, rows in left.items():
            first = index * sampling.batch_size
            n = min(sampling.batch_size, sampling.n - first)
            again = f", drawn again {turn}" if turn else ""
            random = generator(sampling.seed, f"sampling{again}", index, denoiser.device)
            noise = torch.randn((n, *image_shape), generator=random, device=denoiser.device)
            of_given = generator(sampling.seed, f"given cells{again}", index, denoiser.device)
            made = walk(index, first + rows, noise[rows], random, of_given, bar)
            draws += len(rows)
            batch = images[first : first + n]
            batch[rows] = made.cpu()
            images[first : first + n] = batch
            if judge is not None and not (valid := _valid(judge, made)).all():
                refused[index] = rows[~valid]
        bar.close()
        if not (left := refused):
            break
    evaluations = draws * len(path.levels) / sampling.n
    twice = bool(sampling.guidance)
    description = {
        "sampler": to_settings(sampler),
        **to_settings(sampling),
        **path.description(),
        "draws": draws,
        "evaluations": evaluations * (2 if twice and told is not None else 1),
        "oracle_evaluations": evaluations * (2 if twice and told is None else 0),
    }
    return Samples(images, description)


@dataclass(frozen=True)
class _Walk:
    """Walks the path with one batch, whose samples' own denoiser is that `at` their places."""

    at: Callable[[Tensor], Denoiser]
    denoiser: Denoiser
    path: NoisePath
    at_once: int
    watch: Callable[[int, Tensor, Tensor, Tensor], None] | None
    given: Given | None

    def __call__(
        self,
        index: int,
        places: Tensor,
        noise: Tensor,
        random: torch.Generator,
        noise_of_given: torch.Generator,
        bar: Any,
    ) -> Tensor:
        """Return images (B, C, H, W) of batch `index`, from `noise`, for samples `places (B,)`."""
        denoiser, path = self.denoiser, self.path
        known = None if self.given is None else self.given.part(places, denoiser.device)
        x = path.start(noise)
        parts = [self.at(part) for part in places.split(self.at_once)]
        with ExitStack() as checked:
            for part in dict.fromkeys(parts):
                checked.enter_context(part.checked_together())
            for step, level in enumerate(path.levels):
                x_t = path.model_input(x, step)
                t = level.expand(len(x), *level.shape)
                if known is not None and denoiser.cells is not None:
                    x_t, t = known.onto(x_t), known.levels(t)
                elif known is not None:
                    x_t = known.noisy_onto(x_t, t, denoiser.schedule, noise_of_given)
                x0_hat = _in_parts(parts, x_t, t, self.at_once)
                if self.watch is not None:
                    self.watch(index, level, x_t, x0_hat)
                x = path.advance(x, x_t, x0_hat, step, random)
                bar.update()
        return x if known is None else known.onto(x)


def _valid(dataset: SymbolImages, images: Tensor) -> Tensor:
    """Which images can be read and obey the grammar: (B,) bool."""
    words, legible = dataset.read(images.cpu())
    return legible.all(1) & dataset.grammar.contains(words)


def _in_parts(denoisers: Sequence[Denoiser], x_t: Tensor, t: Tensor, at_once: int) -> Tensor:
    if len(denoisers) == 1:
        whole: Tensor = denoisers[0](x_t, t)
        return whole
    parts = zip(denoisers, x_t.split(at_once), t.split(at_once), strict=True)
    return torch.cat([denoiser(*part) for denoiser, *part in parts])


def _told(
    sampling: SamplingConfig,
    dataset: SymbolImages | None,
    image_shape: tuple[int, int, int],
    conditions: Conditions | None,
) -> Tensor | None:
    """What is told of each sample, (n, M) long; None where nothing is."""
    if not sampling.condition:
        return None
    world = _known(dataset, image_shape, "condition")
    if conditions is None:
        raise UsageError(
            f"sampling.condition={sampling.condition!r}, and no conditions are known: set "
            "condition.name, or give sample() the conditions"
        )
    return conditions.read(sampling.condition, world.glyphs.names, sampling.n, sampling.seed)


def _known(
    dataset: SymbolImages | None, image_shape: tuple[int, int, int], setting: str
) -> SymbolImages:
    if dataset is None:
        raise UsageError(
            f"sampling.{setting} goes by a grammar, and none is known of these images: "
            "leave it out, or give sample() the dataset"
        )
    if dataset.image_shape != tuple(image_shape):
        raise UsageError(
            f"sampling.{setting} goes by images {dataset.image_shape} (C, H, W); sampled are "
            f"{tuple(image_shape)}"
        )
    return dataset


def _check(sampling: SamplingConfig, timesteps: int, watched: bool) -> None:
    if sampling.steps > timesteps:
        raise UsageError(
            f"sampling.steps={sampling.steps} exceeds the {timesteps} noise levels of the schedule"
        )
    if watched and sampling.rejection:
        raise UsageError(
            "what looks along the path sees each sample drawn once: leave sampling.rejection at 0"
        )
