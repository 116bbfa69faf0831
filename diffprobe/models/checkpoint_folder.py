"""Where checkpoints lie, told without torch.

A checkpoint is a run folder (its latest checkpoint), a checkpoint folder, a folder of a diffusers
pipeline, or one of a single network. What is in it is loaded by `diffprobe.models.checkpoint`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import (
    CheckpointError,
    NotFoundError,
    offer_nearest,
)
from diffprobe.foundations.records import read_json
from diffprobe.models.named import is_named, named_folder

NETWORK_FOLDERS = ("unet", "transformer")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder and the training step it was written at, if known."""

    path: Path
    step: int | None


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return a run's checkpoints in order of step.

    Raises:
        NotFoundError: If `run` is not a run folder, or has no checkpoint yet.
    """
    if not run.exists():
        raise NotFoundError(f"no checkpoint or run folder at {run}{offer_nearest(run)}")
    found = [
        Checkpoint(path, int(match[1]))
        for path in (run / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    ]
    if not found:
        raise NotFoundError(
            f"{run} holds no checkpoints: it is not a run folder, or has not got that far"
        )
    return sorted(found, key=lambda c: c.step or 0)


def find_checkpoint(checkpoint: str | Path) -> Checkpoint:
    """Return the checkpoint at a path, or of a name: of the zoo, or downloaded from the Hub.

    Args:
        checkpoint: A run folder (its latest checkpoint), a checkpoint folder, a folder of a
            diffusers pipeline, one of a single network, `zoo:NAME` or `hub:owner/name`.

    Raises:
        NotFoundError: If there is none.
        CheckpointError: If it cannot be downloaded.
    """
    if is_named(checkpoint):
        folder = named_folder(checkpoint)
        if (folder / "checkpoints").is_dir():
            return list_checkpoints(folder)[-1]
        return Checkpoint(folder, None)
    path = Path(checkpoint)
    if not path.exists():
        raise NotFoundError(f"no checkpoint or run folder at {path}{offer_nearest(path)}")
    if any((path / name).is_dir() for name in NETWORK_FOLDERS):
        match = re.fullmatch(r"step-(\d+)", path.name)
        return Checkpoint(path, int(match[1]) if match else None)
    if (path / "checkpoints").is_dir():
        return list_checkpoints(path)[-1]
    single = (path / "config.json").exists() and "_class_name" in read_config(path, "config.json")
    if single or (path / "model_index.json").exists():
        return Checkpoint(path, None)
    raise NotFoundError(
        f"{path} is neither a run folder (with checkpoints/) nor a checkpoint "
        "(a diffusers folder with unet/ or transformer/, and scheduler/)"
    )


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return the settings in a JSON file of a diffusers folder.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        return read_json(folder / name)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a diffusers folder: there is no {name}") from error
