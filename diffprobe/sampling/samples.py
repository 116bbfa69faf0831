"""Sampled images, how they were made, and the files they are kept in."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffprobe.config import SamplingConfig
from diffprobe.foundations.atomic import atomic_file
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.tables import html_table
from diffprobe.sampling.samplers import SamplerKind


@dataclass(frozen=True, repr=False)
class Samples:
    """Sampled images and how they were made.

    Attributes:
        images: (N, C, H, W) float32.
        sampler: The resolved sampler: its settings, class and configuration, steps, seed, batch
            size, and what was sampled.
    """

    images: Tensor
    sampler: Mapping[str, Any]

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        how = f", {self.sampler['class']}" if "class" in self.sampler else ""
        return f"<Samples: {n:,} images of {' × '.join(map(str, shape))}{how}>"

    def _repr_html_(self) -> str:
        told = ("class", "steps", "seed", "weights")
        shown = {key: self.sampler[key] for key in told if key in self.sampler}
        settings = {k: v for k, v in self.sampler.get("sampler", {}).items() if k != "name"}
        return html_table([{**shown, **settings}], repr(self))

    def save(self, path: Path) -> None:
        """Write an `.npz` with `images`, and `sampler` as JSON text."""
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file, images=self.images.numpy(), sampler=np.array(json.dumps(dict(self.sampler)))
            )


def load_samples(path: str | Path) -> Samples:
    """Read images from an `.npz`: the array `images`, or the only array in the file.

    Nothing is unpickled.

    Raises:
        UsageError: If the file is missing, damaged, or holds no such array of floats.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no file of samples at {path}")
    try:
        # numpy leaves a file that it opened itself open when it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [n for n in archive.files if n != "sampler"]
            if "images" not in names and len(names) != 1:
                raise UsageError(f"{path} has no array named 'images' (it has {names})")
            images = archive["images" if "images" in names else names[0]]
            sampler = json.loads(str(archive["sampler"])) if "sampler" in archive.files else {}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, UsageError):
            raise
        reason = "it holds pickled objects" if "pickle" in str(error).lower() else str(error)
        raise UsageError(f"{path} cannot be read as an .npz of images: {reason}") from error
    if not np.issubdtype(images.dtype, np.floating):
        raise UsageError(
            f"{path} holds images of {images.dtype}; they must be floats in [-1, 1] "
            "(bytes from 0 to 255 are x / 127.5 - 1)"
        )
    if images.ndim == 3:
        images = images[:, None]
    return Samples(torch.from_numpy(images).float(), sampler)


def samples_name(
    step: int | None, sampler: SamplerKind, sampling: SamplingConfig, weights: str
) -> str:
    """Return the file name of samples, one for each way to make them."""
    how = f"{sampler.name}-{sampling.steps}{sampler.label}"
    return f"{samples_prefix(step, weights)}{how}_n-{sampling.n}_seed-{sampling.seed}.npz"


def samples_prefix(step: int | None, weights: str) -> str:
    """Return how the names of all samples of a checkpoint's weights begin."""
    at = "checkpoint" if step is None else f"step-{step:06d}"
    return f"{at}_{weights}_"
