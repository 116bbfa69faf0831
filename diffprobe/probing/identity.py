"""What tells a denoiser and its inputs from others: everything about them that a number depends on.

denoiser   weights, layers and configurations of its networks, what it predicts, the noise
           schedule with its tables, condition and guidance
words      the grammar's settings and its log-partition function, which is the grammar; glyphs
images     every pixel
"""

import hashlib
import json
from typing import Any

import torch
from diffusers import ConfigMixin

from diffprobe.datasets import ImageSet, SymbolImages
from diffprobe.foundations.seeding import generator
from diffprobe.foundations.settings import to_settings
from diffprobe.models.checkpoint_folder import list_checkpoints
from diffprobe.models.denoiser import Denoiser
from diffprobe.probing.cache import fingerprint
from diffprobe.probing.code import source_of
from diffprobe.training.run_folder import RunFolder


def hash_of_network(denoiser: Denoiser) -> str | None:
    """Return a hash of a denoiser whatever its condition; a large network's takes seconds.

    Returns:
        None for a function, which nothing tells from another.
    """
    parts = list(denoiser.modules())
    sources = [source_of(type(part)) for part in parts]
    if next(denoiser.parameters(), None) is None or None in sources:
        return None
    told = {
        # Strides, paddings and the like are in no weight.
        "structure": str(denoiser),
        "sources": sources,
        "configurations": [_configuration(p) for p in parts if isinstance(p, ConfigMixin)],
        "schedule": [type(denoiser.scheduler).__name__, _configuration(denoiser.scheduler)],
        "predicts": getattr(denoiser, "prediction_type", None),
        "space": denoiser.space,
    }
    return fingerprint(
        *denoiser.parameters(), denoiser.schedule.alphas, denoiser.schedule.sigmas, _text(told)
    )


def hash_of_denoiser(denoiser: Denoiser, network: str | None) -> str | None:
    """Return a hash of a denoiser with its condition and guidance, which are among its buffers.

    Args:
        denoiser: Of any kind.
        network: What `hash_of_network` returns.
    """
    if network is None:
        return None
    names = [name for name, _ in denoiser.named_buffers()]
    return fingerprint(network, *denoiser.buffers(), _text(names))


def hash_of_images(images: SymbolImages | ImageSet) -> str:
    """Return a hash of where a probe's inputs come from."""
    if isinstance(images, ImageSet):
        return fingerprint(images.images, images.source)
    grammar, glyphs = images.grammar, images.glyphs
    shape = 2, grammar.length, grammar.symbols
    scores = torch.randn(shape, generator=generator(0, "fingerprint"), dtype=torch.float64)
    told = {
        "class": type(grammar).__qualname__,
        "settings": to_settings(grammar.kind),
        # The last digits depend on the number of threads.
        "log_partition": [f"{value:.9g}" for value in grammar.log_partition(scores).tolist()],
        "grid": images.grid,
        "names": glyphs.names,
        "reader": [glyphs.radius, glyphs.bandwidth, glyphs.shifted],
    }
    return fingerprint(glyphs.images, glyphs.counts, _text(told))


def hash_of_checkpoints(run: RunFolder, last: int) -> str:
    """Return a hash of the weights of all checkpoints of a run up to a step."""
    digest = hashlib.sha256()
    for checkpoint in list_checkpoints(run.path):
        if (checkpoint.step or 0) <= last:
            digest.update(f"{checkpoint.step}".encode())
            for file in sorted(checkpoint.path.rglob("*.safetensors")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _configuration(part: Any) -> dict[str, Any]:
    """A diffusers configuration without where it was read from."""
    return {key: value for key, value in dict(part.config).items() if not key.startswith("_")}


def _text(told: Any) -> str:
    return json.dumps(told, sort_keys=True, default=lambda other: type(other).__qualname__)
