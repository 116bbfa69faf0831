"""What a training needs to continue: weights, averages, optimizer moments; no pickle.

Randomness is a function of the step and the learning rate another, so neither is stored.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffprobe.foundations.atomic import atomic_folder
from diffprobe.foundations.errors import CheckpointError
from diffprobe.training.average import Average


@dataclass
class TrainingState:
    """The moving parts of a training.

    Attributes:
        network: With its raw weights.
        averages: By the names under which checkpoints store them.
        optimizer: Over `network.parameters()`.
        step: Steps done.
        losses: Losses since the last line of metrics.
        seconds: Time spent training before.
    """

    network: ModelMixin
    averages: dict[str, Average]
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write the state to `folder`, replacing an earlier one whole or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"average.{name}.{k}": v for k, v in average.state().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            # Without momentum some optimizers keep a place for it that is empty.
            kept = {k: v for k, v in moments.items() if v is not None}
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in kept.items()}
        scalars = {
            "step": self.step,
            "losses": self.losses,
            "seconds": self.seconds,
            "optimizer": self._optimizer_name,
        }
        with atomic_folder(folder) as partial:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, partial / "state.safetensors"
            )
            (partial / "state.json").write_text(json.dumps(scalars), "utf-8")

    def load(self, folder: Path, *, branch: bool = False) -> None:
        """Take the state from `folder`.

        Args:
            folder: As `save` wrote it.
            branch: Whether it is another run's: an average that it has not begins now, and its
                losses stay behind.

        Raises:
            CheckpointError: If it is damaged, or of another network or optimizer.
        """
        try:
            tensors = load_file(folder / "state.safetensors")
            scalars = json.loads((folder / "state.json").read_text("utf-8"))
            if (other := scalars["optimizer"]) != self._optimizer_name:
                raise CheckpointError(
                    f"the state in {folder} has what {other} remembers, of which "
                    f"{self._optimizer_name} can make nothing: keep the kind of optimizer"
                )
            self.network.load_state_dict(_below("network.", tensors))
            self.step = scalars["step"]
            for name, average in self.averages.items():
                stored = _below(f"average.{name}.", tensors)
                if stored or not branch:
                    average.restore(self.step, stored)
                else:
                    average.restart(self.network.parameters())
            self._load_moments(_below("optimizer.", tensors))
            if not branch:
                self.losses, self.seconds = scalars["losses"], scalars["seconds"]
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            way_out = (
                "a branch needs the same network, and under one name the same kind of average"
                if branch
                else "delete that folder to train from the start"
            )
            raise CheckpointError(
                f"the state in {folder} is damaged or of another training "
                f"({str(error).splitlines()[0]}); {way_out}"
            ) from error

    @property
    def _optimizer_name(self) -> str:
        return type(self.optimizer).__name__

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        moments: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        content = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**content, "state": moments})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
