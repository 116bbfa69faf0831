"""What a training needs to continue: weights, averages, optimizer moments; no pickle.

All of one step is one file, so that no part of it can be of another step. A checksum of all of it
is stored with it. Randomness is a function of the step and the learning rate another, so neither
is stored.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffprobe.foundations.atomic import atomic_file
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

    def save(self, file: Path) -> None:
        """Write the state to a file, which has the earlier content until it has all of the new."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"average.{name}.{k}": v for k, v in average.state().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            # Without momentum some optimizers keep a place for it that is empty.
            kept = {k: v for k, v in moments.items() if v is not None}
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in kept.items()}
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        scalars = json.dumps(
            {
                "step": self.step,
                "losses": self.losses,
                "seconds": self.seconds,
                "optimizer": self._optimizer_name,
            }
        )
        with atomic_file(file) as partial:
            save_file(tensors, partial, {"state": scalars, "sha256": _checksum(tensors, scalars)})

    def load(self, file: Path, *, branch: bool = False) -> None:
        """Take the state from a file.

        Args:
            file: As `save` wrote it.
            branch: Whether it is another run's: an average that it has not begins now, and its
                losses stay behind.

        Raises:
            CheckpointError: If it is damaged, or of another network or optimizer.
        """
        tensors, scalars = _read(file)
        if (other := scalars["optimizer"]) != self._optimizer_name:
            raise CheckpointError(
                f"the state in {file} has what {other} remembers, of which "
                f"{self._optimizer_name} can make nothing: keep the kind of optimizer"
            )
        try:
            self.network.load_state_dict(_below("network.", tensors))
            self.step = scalars["step"]
            for name, average in self.averages.items():
                stored = _below(f"average.{name}.", tensors)
                if stored or not branch:
                    average.restore(self.step, stored)
                else:
                    average.restart(self.network.parameters())
            self._load_moments(_below("optimizer.", tensors))
        except (KeyError, ValueError, RuntimeError) as error:
            needs = "; a branch needs the same network, and under one name the same kind of average"
            raise CheckpointError(
                f"the state in {file} is of another training "
                f"({str(error).splitlines()[0]}){needs if branch else ''}"
            ) from error
        if not branch:
            self.losses, self.seconds = scalars["losses"], scalars["seconds"]

    def weights(self) -> list[Tensor]:
        """Return all weights, raw and averaged."""
        averaged = (weight for average in self.averages.values() for weight in average.weights())
        return [*self.network.parameters(), *averaged]

    def all_finite(self) -> bool:
        """Whether every weight, raw or averaged, is a number."""
        return all(bool(w.isfinite().all()) for w in self.weights())

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


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and scalars of a file, if all of it is as it was written."""
    try:
        with safe_open(file, "np") as opened:
            metadata = opened.metadata() or {}
        tensors = load_file(file)
        if metadata["sha256"] != _checksum(tensors, metadata["state"]):
            raise ValueError("its checksum is not that of its content")
        scalars: dict[str, Any] = json.loads(metadata["state"])
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the state in {file} is damaged ({str(error).splitlines()[0]})"
        ) from error
    return tensors, scalars


def _checksum(tensors: Mapping[str, Tensor], scalars: str) -> str:
    digest = hashlib.sha256(scalars.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
