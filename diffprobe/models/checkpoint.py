"""Checkpoints: ordinary diffusers folders with safetensors weights.

    step-000800/
        unet/       the network with EMA weights (diffusers' name for the denoising network)
        scheduler/  the forward process
        raw/        the network with raw weights
        model_index.json   for a U-Net, so that `DDPMPipeline.from_pretrained` reads the folder

Nothing is unpickled and nothing is downloaded.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDPMPipeline, DDPMScheduler, ModelMixin, UNet2DModel
from safetensors import SafetensorError

from diffprobe.atomic import atomic_folder
from diffprobe.errors import CheckpointError
from diffprobe.models.denoiser import NetworkDenoiser
from diffprobe.models.mlp import MLP, ResidualMLP
from diffprobe.models.transformer import StripTransformer

NETWORKS = {c.__name__: c for c in (MLP, ResidualMLP, StripTransformer, UNet2DModel)}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder and the training step it was written at, if known."""

    path: Path
    step: int | None


def save_checkpoint(path: Path, ema: ModelMixin, raw: ModelMixin, scheduler: DDPMScheduler) -> None:
    """Write a checkpoint folder atomically."""
    with atomic_folder(path) as folder:
        if isinstance(ema, UNet2DModel):
            DDPMPipeline(unet=ema, scheduler=scheduler).save_pretrained(folder)
        else:
            ema.save_pretrained(folder / "unet")
            scheduler.save_pretrained(folder / "scheduler")
        raw.save_pretrained(folder / "raw")


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return a run's checkpoints in order of step.

    Raises:
        CheckpointError: If `run` is not a run folder, or has no checkpoint yet.
    """
    if not run.exists():
        raise CheckpointError(f"no checkpoint or run folder at {run}")
    found = [
        Checkpoint(path, int(match[1]))
        for path in (run / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    ]
    if not found:
        raise CheckpointError(
            f"{run} holds no checkpoints: it is not a run folder, or has not got that far"
        )
    return sorted(found, key=lambda c: c.step or 0)


def find_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint at `path`: a checkpoint folder, or the latest one of a run folder.

    Raises:
        CheckpointError: If there is none.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint or run folder at {path}")
    if (path / "unet").is_dir():
        match = re.fullmatch(r"step-(\d+)", path.name)
        return Checkpoint(path, int(match[1]) if match else None)
    if (path / "checkpoints").is_dir():
        return list_checkpoints(path)[-1]
    raise CheckpointError(
        f"{path} is neither a run folder (with checkpoints/) nor a checkpoint "
        "(a diffusers folder with unet/ and scheduler/)"
    )


def load_denoiser(
    checkpoint: str | Path,
    weights: Literal["ema", "raw"] = "ema",
    device: torch.device | str = "cpu",
) -> NetworkDenoiser:
    """Load a checkpoint as a denoiser in evaluation mode.

    Args:
        checkpoint: A run folder (its latest checkpoint), a checkpoint folder, or any diffusers
            pipeline folder with `unet/` (a `UNet2DModel`) and `scheduler/`.
        weights: The EMA weights, or the raw ones where the folder holds them.
        device: Where to put it.

    Raises:
        CheckpointError: If the folder is missing, holds another kind of model, or its weights do
            not fit the network key by key.
    """
    path = find_checkpoint(Path(checkpoint)).path
    network = _load_network(path / ("unet" if weights == "ema" else "raw"))
    scheduler = _load_scheduler(path / "scheduler")
    return NetworkDenoiser(network, scheduler).requires_grad_(False).eval().to(device)


def _load_network(folder: Path) -> ModelMixin:
    name = _read_config(folder, "config.json").get("_class_name")
    if name not in NETWORKS:
        raise CheckpointError(
            f"{folder} holds a {name or 'model of unknown class'}; "
            f"diffprobe loads {', '.join(NETWORKS)}"
        )
    try:
        # diffusers fills missing keys with random weights and only warns: look at the report.
        network, report = NETWORKS[name].from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(f"the weights in {folder} cannot be loaded: {first_line}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := report.get(kind):
            shown = ", ".join(str(k) for k in list(keys)[:3]) + (" …" if len(keys) > 3 else "")
            raise CheckpointError(
                f"the weights in {folder} do not fit its {name}: "
                f"{len(keys)} {kind.replace('_', ' ')} ({shown})"
            )
    return network


def _load_scheduler(folder: Path) -> DDPMScheduler:
    config = _read_config(folder, "scheduler_config.json")
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    try:
        return DDPMScheduler.from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"the schedule in {folder} cannot be used: {error}") from error


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a diffusers folder: there is no {name}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings")
    return content
