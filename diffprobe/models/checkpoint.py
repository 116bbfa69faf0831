"""Checkpoints: ordinary diffusers folders with safetensors weights.

    step-000800/
        unet/       the network with the first average's weights, or the raw ones where there is
                    none (diffusers' name for the denoising network)
        scheduler/  the forward process
        raw/ …      every other set of weights, under its own name
        weights.json       which set is in which folder
        SHA256SUMS         of every file; `sha256sum -c` reads it
        model_index.json   for a U-Net, so that `DDPMPipeline.from_pretrained` reads the folder

Other people's pipelines are folders of the same kind. Nothing is unpickled, and nothing is
downloaded but what is asked for as `hub:owner/name`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDPMScheduler, ModelMixin

from diffprobe.foundations import kinds
from diffprobe.foundations.atomic import atomic_folder
from diffprobe.foundations.checksums import check_checksums, write_checksums
from diffprobe.foundations.errors import (
    CheckpointError,
    DiffprobeError,
    UsageError,
    first_line,
    unknown_name,
)
from diffprobe.models.adapters import Adapter, merge_adapter
from diffprobe.models.checkpoint_folder import NETWORK_FOLDERS, find_checkpoint, read_config
from diffprobe.models.components import load_model, load_scheduler
from diffprobe.models.conditioning import check_condition, condition_network
from diffprobe.models.denoiser import Denoiser, NetworkDenoiser
from diffprobe.models.families import (
    FOREIGN_NETWORKS,
    PIPELINES,
    family_of,
    nearest_pipeline,
)
from diffprobe.models.families.family import FamilyDenoiser
from diffprobe.models.foreign import Condition
from diffprobe.models.latents import LatentSpace
from diffprobe.models.networks import NetworkKind
from diffprobe.models.prompts import assemble

WEIGHTS = "weights.json"


def save_checkpoint(
    path: Path, networks: Mapping[str, ModelMixin], scheduler: DDPMScheduler
) -> None:
    """Write a checkpoint folder atomically.

    Args:
        path: The folder.
        networks: The network with each set of weights, by name; the first is the main one.
        scheduler: The forward process.
    """
    (main, network), *others = networks.items()
    with atomic_folder(path) as folder:
        if type(network).__name__ == "UNet2DModel":
            from diffusers import DDPMPipeline

            DDPMPipeline(unet=network, scheduler=scheduler).save_pretrained(folder)
        else:
            network.save_pretrained(folder / "unet")
            scheduler.save_pretrained(folder / "scheduler")
        for name, other in others:
            other.save_pretrained(folder / name)
        places = {main: "unet", **{name: name for name, _ in others}}
        (folder / WEIGHTS).write_text(json.dumps(places) + "\n", "utf-8")
        write_checksums(folder)


def kind_of_network(class_name: str) -> str | None:
    """Return the name of the kind whose networks are of a class; None where it is no kind's."""
    named = (
        kind.name
        for kind in _network_kinds()
        if class_name in [model.__name__ for model in kind.models()]
    )
    return next(named, None)


def _network_kinds() -> list[type[NetworkKind]]:
    loaded = [announced.load() for announced in kinds.announced("network").values()]
    return [kind for kind in loaded if issubclass(kind, NetworkKind)]


def load_denoiser(
    checkpoint: str | Path,
    weights: str = "",
    device: torch.device | str = "cpu",
    condition: Condition | None = None,
    *,
    scheduler: Any = None,
    size: tuple[int, int] | None = None,
    adapters: Sequence[Adapter] = (),
    dtype: torch.dtype = torch.float32,
) -> NetworkDenoiser:
    """Load a checkpoint as a denoiser in evaluation mode.

    Args:
        checkpoint: A run folder (its latest checkpoint), a checkpoint folder, a folder of a
            diffusers pipeline (`PIPELINES`), one of a single network with its scheduler inside it
            or beside it, `zoo:NAME`, `hub:owner/name` or `hub:owner/name@revision`.
        weights: The set of weights by name; by default the main one of the folder.
        device: Where to put it.
        condition: What a conditional network is told.
        scheduler: A diffusers scheduler, instead of the folder's.
        size: Height and width in pixels, instead of the network's own.
        adapters: LoRA adapters that are merged into a foreign network, one after another.
        dtype: What a foreign network computes in, whatever its weights are stored in.

    Raises:
        CheckpointError: If the folder is missing, holds another kind of model, or its weights do
            not fit the network key by key.
        UsageError: If the network needs another condition, or another size.
    """
    path = find_checkpoint(checkpoint).path
    _check_pipeline(path)
    inside = [path / name for name in NETWORK_FOLDERS if (path / name).is_dir()]
    network_folder = inside[0] if inside else path
    if weights:
        network_folder = path / _place(path, weights)
    check_checksums(path, (network_folder.name, "scheduler", WEIGHTS))
    network = load_model(network_folder, _network_class(network_folder), dtype)
    root = path if inside or _holds_scheduler(path) else path.parent
    latents = LatentSpace(root / "vae") if (root / "vae").is_dir() else None
    if scheduler is None:
        nested = (root / "scheduler").is_dir()
        scheduler = load_scheduler(root / "scheduler" if nested else root, clip=latents is None)
    condition = condition or Condition()
    denoiser: NetworkDenoiser
    if (name := type(network).__name__) in FOREIGN_NETWORKS:
        family = family_of(network)
        check_condition(network, condition, family)
        image_shape = _image_shape(network, latents, size, family)
        pipeline = None
        if adapters or condition.prompt is not None:
            pipeline = assemble(root, family, network, text=condition.prompt is not None)
        for adapter in adapters:
            merge_adapter(adapter, pipeline, family, network)
        denoiser = condition_network(
            network, scheduler, condition, family, pipeline, image_shape, latents
        )
    elif condition != Condition():
        raise UsageError(f"{name} takes neither a prompt nor a class label")
    elif adapters or dtype != torch.float32:
        raise UsageError(f"{name} takes no LoRA adapter, and computes in float32")
    else:
        image_shape = _image_shape(network, latents, size)
        denoiser = NetworkDenoiser(network, scheduler, image_shape=image_shape)
    denoiser = denoiser.requires_grad_(False).eval().to(device)
    if image_shape is not None:
        _call_once(denoiser, image_shape, network_folder)
    return denoiser


def _call_once(denoiser: Denoiser, image_shape: tuple[int, int, int], folder: Path) -> None:
    """Find out now what a network made of a damaged configuration fails at only when called."""
    x_t = torch.zeros(1, *image_shape, device=denoiser.device)
    try:
        with torch.no_grad():
            denoiser(x_t, torch.zeros(1, dtype=torch.long, device=denoiser.device))
    except (DiffprobeError, MemoryError, torch.OutOfMemoryError):
        raise
    # It may fail anywhere in diffusers.
    except Exception as error:
        reason = first_line(error)
        raise CheckpointError(f"the network in {folder} cannot be called: {reason}") from error


def _network_class(folder: Path) -> Any:
    """The class that a network's folder names; only the module of that one need be imported."""
    name = read_config(folder, "config.json").get("_class_name", "model of unknown class")
    if name in FOREIGN_NETWORKS:
        return getattr(diffusers, name)
    # One kind after another: the module of a U-Net takes seconds.
    models = (model for kind in _network_kinds() for model in kind.models())
    found = next((model for model in models if model.__name__ == name), None)
    if found is None:
        ours = [model.__name__ for kind in _network_kinds() for model in kind.models()]
        known = dict.fromkeys([*ours, *FOREIGN_NETWORKS])
        raise CheckpointError(f"{folder} holds a {name}; diffprobe loads {', '.join(known)}")
    return found


def _place(path: Path, weights: str) -> str:
    """Return the folder, within a checkpoint, of the weights of that name."""
    if not (path / WEIGHTS).exists():
        raise CheckpointError(f"{path} has one set of weights, and none called {weights!r}")
    places = read_config(path, WEIGHTS)
    if weights not in places:
        raise unknown_name(f"weights of {path}", weights, places)
    return str(places[weights])


def _check_pipeline(path: Path) -> None:
    if not (path / "model_index.json").exists():
        return
    name = read_config(path, "model_index.json").get("_class_name")
    if name not in PIPELINES:
        raise CheckpointError(
            f"{path} is a {name}; diffprobe loads {', '.join(PIPELINES)}"
            f"{nearest_pipeline(str(name))}"
        )
    if not any((path / part).is_dir() for part in NETWORK_FOLDERS):
        lacking = " and no ".join(NETWORK_FOLDERS)
        raise CheckpointError(f"{path} is a {name} without its network: there is no {lacking}")


def _holds_scheduler(path: Path) -> bool:
    return (path / "scheduler").is_dir() or (path / "scheduler_config.json").exists()


def _image_shape(
    network: Any,
    latents: LatentSpace | None,
    size: tuple[int, int] | None,
    family: type[FamilyDenoiser] | None = None,
) -> tuple[int, int, int] | None:
    """C, H, W of the network's input: the one asked for, or its own, if it has one."""
    config = network.config
    if "image_shape" in config:
        own: tuple[int, int, int] = tuple(config.image_shape)
        if size not in (None, own[1:]):
            raise UsageError(f"the network is for images of {own[1]}×{own[2]} pixels")
        return own
    if family is None or "in_channels" not in config:
        raise CheckpointError(
            f"the configuration of {type(network).__name__} names neither image_shape nor "
            "in_channels: it is not known which images it takes"
        )
    channels = family.channels(config)
    if size is not None:
        scale = latents.pixel_scale if latents else 1
        cell = scale * family.cell(config)
        if size[0] % cell or size[1] % cell or min(size) < cell:
            raise UsageError(
                f"height and width must be multiples of {cell} pixels, not {size[0]}×{size[1]}"
            )
        return channels, size[0] // scale, size[1] // scale
    sample_size = family.usual_size or config.sample_size
    if sample_size is None:
        return None
    sides = [sample_size] * 2 if isinstance(sample_size, int) else sample_size
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(map(_is_side, sides)):
        raise CheckpointError(f"the network's sample_size is no size of images: {sample_size!r}")
    return channels, sides[0], sides[1]


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and value > 0
