"""Checkpoints that are named, and lie at no path of the user's: `zoo:NAME`, `hub:owner/name`.

    zoo:NAME                 shipped with diffprobe
    hub:owner/name           the newest there is of a repository on the Hub, downloaded
    hub:owner/name@revision  that branch, tag or commit of it

A repository is a run of diffprobe, as `diffprobe push` writes it, or the pipeline of another.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from diffprobe import zoo
from diffprobe.foundations.errors import CheckpointError, UsageError, first_line

HUB = "hub:"
REPOSITORY = r"[\w.-]+/[\w.-]+"
# Of a repository: what can be read without unpickling.
DOWNLOADED = [
    "*.json",
    "*.txt",
    "diffusion_pytorch_model*.safetensors",
    "*/*.safetensors",
    # Of a run of diffprobe.
    "README.md",
    "config.toml",
    "metrics.jsonl",
    "losses.f32",
    "checkpoints/*/SHA256SUMS",
    "probes/*.png",
    "report/*.png",
]
LEFT_OUT = ["*non_ema*", "safety_checker/*", "*onnx*", "*openvino*"]
# Weights of half the precision, wanted for a model that has no others, the first before the second.
VARIANTS = ("fp16", "bf16")


def is_named(checkpoint: str | Path) -> bool:
    """Whether a checkpoint is asked for by such a name."""
    return str(checkpoint).startswith((zoo.PREFIX, HUB))


def named_folder(checkpoint: str | Path) -> Path:
    """Return the folder of a named checkpoint, which is only read.

    Raises:
        UsageError: If the zoo has none of that name, or it names no repository.
        CheckpointError: If it cannot be downloaded.
    """
    name = str(checkpoint)
    if name.startswith(zoo.PREFIX):
        return zoo.folder_of(name.removeprefix(zoo.PREFIX))
    return _download(name)


def own_place(checkpoint: str | Path, folder: Path) -> Path:
    """Return where what a command makes of a run lies: its folder, or that of one's own copy.

    Another revision of a repository has another place.

    Args:
        checkpoint: As it was asked for.
        folder: Of the run; of a named one, as `named_folder` returned it.

    >>> str(own_place("zoo:parity-mlp", Path("any")))
    'runs/zoo/parity-mlp'
    >>> str(own_place("hub:owner/name@main", Path("snapshots/0a1b2c3d4e5f")))
    'runs/hub/owner/name@0a1b2c3d'
    """
    if not is_named(checkpoint):
        return folder
    where, _, name = str(checkpoint).partition(":")
    place = Path("runs") / where
    return place / name if where == "zoo" else place / f"{name.partition('@')[0]}@{folder.name[:8]}"


def _download(name: str) -> Path:
    found = re.fullmatch(rf"{HUB}({REPOSITORY})(?:@([\w./-]+))?", name)
    if found is None:
        raise UsageError(
            f"{name!r} names no repository; write hub:owner/name or hub:owner/name@revision"
        )
    import huggingface_hub
    from huggingface_hub import errors

    repository, revision = found.groups()
    download = partial(huggingface_hub.snapshot_download, repository)
    try:
        halves = [f"*.{variant}[.-]*" for variant in VARIANTS]
        folder = Path(
            download(
                revision=revision, allow_patterns=DOWNLOADED, ignore_patterns=LEFT_OUT + halves
            )
        )
        for variant in VARIANTS:
            if wanted := [f"{stem}*.{variant}[.-]*" for stem in _without_weights(folder)]:
                download(
                    revision=folder.name,
                    allow_patterns=wanted,
                    ignore_patterns=[*LEFT_OUT, "*.bin", "*.bin.*"],
                )
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"hub:{repository} has no revision {revision or 'main'!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no {name} that you may read; a private one needs a token: hf auth login, "
            "or HF_TOKEN"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"the Hub cannot be reached, and {name} was not downloaded before"
        ) from error
    # Every other failure on the way has a class of its own.
    except Exception as error:
        raise CheckpointError(f"{name} cannot be downloaded: {first_line(error)}") from error
    return folder


def _without_weights(folder: Path) -> Iterator[str]:
    """Yield how the files of weights begin that a folder's models lack."""
    for config in folder.rglob("config.json"):
        there, told = config.parent, config.read_text("utf-8")
        model = '"_class_name"' in told or '"architectures"' in told
        if model and not any(there.glob("*.safetensors")):
            stem = there.relative_to(folder).as_posix()
            yield "diffusion_pytorch_model" if stem == "." else f"{stem}/"
