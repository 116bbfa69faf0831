"""The run folder: everything one training produced.

config.json     the resolved configuration, with versions, device, threads and seed
metrics.jsonl   one line per log step
checkpoints/    step-000016/ … at log-spaced steps: EMA and raw weights as diffusers folders
resume/         the latest state to continue from; gone when training is done
samples/ probes/ report/   what the other commands add
"""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffprobe import __version__
from diffprobe.config import Config, differences, from_settings, to_settings
from diffprobe.foundations.atomic import remove_partials, write_text
from diffprobe.foundations.devices import device_name
from diffprobe.foundations.errors import CheckpointError, UsageError

# Sections that say how a network is trained; the others may change from command to command.
TRAINED = ("grammar", "images", "data", "model", "noise", "training")


@dataclass(frozen=True)
class RunFolder:
    """A folder `path` laid out as this module describes."""

    path: Path

    @classmethod
    def open(cls, path: Path, config: Config, device: torch.device) -> "RunFolder":
        """Create the folder, or return to one of the same configuration.

        Raises:
            CheckpointError: If the folder holds something else, or another configuration.
        """
        run = cls(path)
        if (path / "config.json").exists():
            theirs = to_settings(run.config())
            ours = to_settings(config)
            changed = differences({k: ours[k] for k in TRAINED}, {k: theirs[k] for k in TRAINED})
            if changed:
                more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
                raise UsageError(
                    f"{path} holds a run of another configuration "
                    f"({'; '.join(changed[:4])}{more}); "
                    "choose another folder with --out, or delete it"
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} exists and is not a run folder; choose another with --out")
        else:
            write_text(path / "config.json", json.dumps(_describe(config, device), indent=2) + "\n")
        remove_partials(path)
        return run

    def config(self) -> Config:
        """Return the configuration the run was trained with.

        Raises:
            CheckpointError: If there is none, or it is damaged.
        """
        return from_settings(self.description()["config"])

    def description(self) -> dict[str, Any]:
        """Return what config.json holds: the settings, versions, device, threads and seed."""
        path = self.path / "config.json"
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path} is not a run folder: no config.json") from error
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict) or "config" not in content:
            raise CheckpointError(f"{path} is not the configuration of a diffprobe run")
        return content

    @property
    def metrics_path(self) -> Path:
        """The file of metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per log step."""
        if not self.metrics_path.exists():
            return []
        lines = []
        for line in self.metrics_path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break  # a line cut short by a kill; training rewrites it on resume
        return lines

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line of metrics."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of steps that will be trained again."""
        kept = [m for m in self.metrics() if m["step"] <= step]
        write_text(self.metrics_path, "".join(json.dumps(m) + "\n" for m in kept))

    def checkpoint_path(self, step: int) -> Path:
        """Return the folder of the checkpoint at `step`."""
        return self.path / "checkpoints" / f"step-{step:06d}"


def run_of_checkpoint(path: Path) -> RunFolder | None:
    """Return the run folder that `path` is, or is a checkpoint of; None for a foreign folder."""
    # As it was written if that will do; resolved where it is "." or the like.
    for folder in (path, path.parent.parent, path.resolve().parent.parent):
        if (folder / "config.json").exists() and (folder / "checkpoints").is_dir():
            return RunFolder(folder)
    return None


def _describe(config: Config, device: torch.device) -> dict[str, Any]:
    libraries = ("torch", "diffusers", "accelerate", "numpy")
    return {
        "config": to_settings(config),
        "versions": {
            "diffprobe": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "seed": config.training.seed,
    }
