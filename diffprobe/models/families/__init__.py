"""Families of pipelines that can be probed, each in a file of its own."""

import difflib
from typing import Any

from diffprobe.foundations.errors import CheckpointError
from diffprobe.models.families.aura_flow import AuraFlowDenoiser
from diffprobe.models.families.classes import DiTDenoiser, UNetDenoiser
from diffprobe.models.families.family import FamilyDenoiser
from diffprobe.models.families.flux import FluxDenoiser
from diffprobe.models.families.lumina import Lumina2Denoiser
from diffprobe.models.families.pixart import PixArtDenoiser
from diffprobe.models.families.stable_diffusion import (
    StableDiffusionDenoiser,
    StableDiffusionXLDenoiser,
)
from diffprobe.models.families.stable_diffusion_3 import StableDiffusion3Denoiser

# Of two with the same class of network, the one that asks for more comes first.
FAMILIES: tuple[type[FamilyDenoiser], ...] = (
    UNetDenoiser,
    StableDiffusionXLDenoiser,
    StableDiffusionDenoiser,
    DiTDenoiser,
    PixArtDenoiser,
    StableDiffusion3Denoiser,
    FluxDenoiser,
    Lumina2Denoiser,
    AuraFlowDenoiser,
)
PIPELINES = tuple(name for family in FAMILIES for name in family.pipelines)
# Transformer2DModel is what DiT and PixArt were called once; diffusers loads the new class.
FOREIGN_NETWORKS = (
    *dict.fromkeys(family.network_class for family in FAMILIES),
    "Transformer2DModel",
)


def family_of(network: Any) -> type[FamilyDenoiser]:
    """Return the family that a network belongs to.

    Raises:
        CheckpointError: If there is none, or the network asks for more than its family's.
    """
    name, config = type(network).__name__, network.config
    found = [f for f in FAMILIES if f.network_class == name and f.matches(config)]
    option = found[0].unknown_option(config) if found else None
    if not found or option:
        detail = f" with {option}={config[option]!r}" if option else ""
        nearest = f"; the nearest is {found[0].pipelines[0]}" if found else ""
        raise CheckpointError(
            f"a {name}{detail} is not supported; diffprobe loads the networks of "
            f"{', '.join(PIPELINES)}{nearest}"
        )
    return found[0]


def nearest_pipeline(name: str) -> str:
    """Return what to say of the nearest supported pipeline, or nothing where none is near.

    >>> nearest_pipeline("StableDiffusionXLImg2ImgPipeline")
    '; the nearest is StableDiffusionXLPipeline'
    >>> nearest_pipeline("WanPipeline")
    ''
    """
    close = difflib.get_close_matches(name, PIPELINES, n=1, cutoff=0.75)
    return f"; the nearest is {close[0]}" if close else ""
