"""The run folder: everything one training produced.

config.json     the resolved configuration, with versions, device, threads and seed
metrics.jsonl   one line per log step
losses.f32      the loss of every step, float32, little-endian, one after another
checkpoints/    step-000016/ … at log-spaced steps: every set of weights as a diffusers folder
state/          what a training needs to go on: weights, averages, the optimizer's moments
states/         step-000800/ …: the same at the steps of training.keep_states
samples/ probes/ report/   what the other commands add
"""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffprobe import __version__
from diffprobe.config import HORIZON, TRAINED, Config, from_settings
from diffprobe.foundations.atomic import atomic_file, remove_partials, write_text
from diffprobe.foundations.devices import device_name
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.settings import differences, to_settings
from diffprobe.foundations.tables import SHOWN, Table, html_table

LOSS = np.dtype("<f4")  # how a step's loss is stored


@dataclass(frozen=True)
class Branch:
    """A step of another run to start from.

    Attributes:
        run: Its folder, as given.
        step: At which its optimizer's state was kept: one of `training.keep_states`, or its last.
    """

    run: Path
    step: int

    @classmethod
    def parse(cls, text: str) -> "Branch":
        """Read `RUN@STEP`.

        Raises:
            UsageError: If it is not of that form.
        """
        run, at, step = text.rpartition("@")
        if not at or not run or not step.isdecimal():
            raise UsageError(f"{text!r} is not of the form RUN@STEP")
        return cls(Path(run), int(step))

    @property
    def state_path(self) -> Path:
        """The folder of the state to start from.

        Raises:
            CheckpointError: If there is none.
        """
        source = RunFolder(self.run)
        source.description()
        kept = source.kept_steps()
        if self.step in kept:
            return kept[self.step]
        known = ", ".join(f"{step:,}" for step in sorted(kept)) or "none"
        raise CheckpointError(
            f"{self.run} keeps no state of step {self.step:,} (it has: {known}); "
            "train it with training.keep_states to have more"
        )


@dataclass(frozen=True)
class RunFolder(Table):
    """A folder `path` laid out as this module describes."""

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return the metrics, a row for each log step."""
        return self.metrics()

    def _repr_html_(self) -> str:
        return html_table(self.metrics()[-SHOWN:], f"{self.path}: its last metrics")

    @classmethod
    def open(
        cls, path: Path, config: Config, device: torch.device, branch: Branch | None = None
    ) -> "RunFolder":
        """Create the folder, or return to one that trains the same.

        The same is what changes a step; how far training goes and how often it is looked at may
        differ.

        Raises:
            CheckpointError: If the folder is damaged.
            UsageError: If it holds something else, or another training.
        """
        run = cls(path)
        if (path / "config.json").exists():
            changed = differences(_identity(config, branch), _identity(*run._trained()))
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
            run._describe(_description(config, device, branch))
        remove_partials(path)
        return run

    def change_horizon(self, config: Config) -> None:
        """Write down how far training goes now."""
        content = self.description()
        ours = to_settings(config)["training"]
        if content["config"]["training"] != ours:
            content["config"]["training"] = ours
            self._describe(content)

    def _describe(self, content: Mapping[str, Any]) -> None:
        write_text(self.path / "config.json", json.dumps(content, indent=2) + "\n")

    def _trained(self) -> tuple[Config, Branch | None]:
        origin = self.description().get("branch")
        branch = Branch(Path(origin["run"]), origin["step"]) if origin else None
        return self.config(), branch

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

    def forget_after(self, step: int) -> None:
        """Drop the metrics and losses of steps that will be trained again."""
        kept = [m for m in self.metrics() if m["step"] <= step]
        write_text(self.metrics_path, "".join(json.dumps(m) + "\n" for m in kept))
        losses = np.full(max(0, step - self._first_step()), np.nan, LOSS)
        # After a crash of the machine some may never have reached the disk.
        there = self.losses()[: len(losses)]
        losses[: len(there)] = there
        with atomic_file(self.losses_path) as partial:
            partial.write_bytes(losses.tobytes())

    @property
    def losses_path(self) -> Path:
        """The file of the loss of every step."""
        return self.path / "losses.f32"

    def append_losses(self, losses: Sequence[float]) -> None:
        """Add the losses of the steps that were done since the last call."""
        with self.losses_path.open("ab") as file:
            file.write(np.array(losses, LOSS).tobytes())

    def losses(self) -> NDArray[np.float32]:
        """Return the loss of every step, of a branch from the step on at which it began."""
        if not self.losses_path.exists():
            return np.zeros(0, LOSS)
        content = self.losses_path.read_bytes()
        return np.frombuffer(content[: len(content) // LOSS.itemsize * LOSS.itemsize], LOSS)

    def checkpoint_path(self, step: int) -> Path:
        """Return the folder of the checkpoint at `step`."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    @property
    def state_path(self) -> Path:
        """The folder of the latest state."""
        return self.path / "state"

    def kept_state_path(self, step: int) -> Path:
        """Return the folder of a state that is kept."""
        return self.path / "states" / f"step-{step:06d}"

    def kept_steps(self) -> dict[int, Path]:
        """Return the folder of the state at each step that has one, the latest included."""
        kept = {
            int(name): path
            for path in (self.path / "states").glob("step-*")
            if (name := path.name.removeprefix("step-")).isdecimal()
        }
        if (step := self.steps_done()) and step not in kept:
            kept[step] = self.state_path
        return kept

    def steps_done(self) -> int:
        """Return the step of the latest state; 0 where there is none.

        Raises:
            CheckpointError: If it is damaged.
        """
        path = self.state_path / "state.json"
        if not path.exists():
            return 0
        try:
            return int(json.loads(path.read_text("utf-8"))["step"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is damaged: {error}; delete {self.state_path} to train from the start"
            ) from error

    def _first_step(self) -> int:
        origin = self.description().get("branch")
        return int(origin["step"]) if origin else 0


def run_of_checkpoint(path: Path) -> RunFolder | None:
    """Return the run folder that `path` is, or is a checkpoint of; None for a foreign folder."""
    # As it was written if that will do; resolved where it is "." or the like.
    for folder in (path, path.parent.parent, path.resolve().parent.parent):
        if (folder / "config.json").exists() and (folder / "checkpoints").is_dir():
            return RunFolder(folder)
    return None


def _identity(config: Config, branch: Branch | None) -> dict[str, Any]:
    """What tells one training from another: whatever changes a step."""
    settings = {key: value for key, value in to_settings(config).items() if key in TRAINED}
    training = {k: v for k, v in settings["training"].items() if k not in HORIZON}
    return {
        **settings,
        "training": training,
        "branch": _origin(branch) if branch else {"run": None, "step": 0},
    }


def _origin(branch: Branch) -> dict[str, Any]:
    return {"run": str(branch.run), "step": branch.step}


def _description(config: Config, device: torch.device, branch: Branch | None) -> dict[str, Any]:
    libraries = ("torch", "diffusers", "accelerate", "numpy")
    return {
        "config": to_settings(config),
        "branch": _origin(branch) if branch else None,
        "versions": {
            "diffprobe": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "seed": config.training.seed,
    }
