"""What a training needs to continue: weights, EMA, optimizer moments; as safetensors, no pickle.

Randomness is a function of the step and the learning rate another, so neither is stored.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffprobe.foundations.atomic import atomic_folder
from diffprobe.foundations.errors import CheckpointError


@dataclass
class TrainingState:
    """The moving parts of a training.

    Attributes:
        network: With its raw weights.
        ema: Their moving average.
        optimizer: AdamW over `network.parameters()`.
        step: Steps done.
        losses: Losses since the last line of metrics.
        seconds: Time spent training before.
    """

    network: ModelMixin
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write the state to `folder`, replacing an earlier one whole or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{i}": v for i, v in enumerate(self.ema.shadow_params)}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        scalars = {"step": self.step, "losses": self.losses, "seconds": self.seconds}
        with atomic_folder(folder) as partial:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, partial / "state.safetensors"
            )
            (partial / "state.json").write_text(json.dumps(scalars), "utf-8")

    def load(self, folder: Path) -> None:
        """Take the state from `folder`.

        Raises:
            CheckpointError: If it is damaged or of another network.
        """
        try:
            tensors = load_file(folder / "state.safetensors")
            scalars = json.loads((folder / "state.json").read_text("utf-8"))
            self.network.load_state_dict(_below("network.", tensors))
            averages = _below("ema.", tensors)
            for i, shadow in enumerate(self.ema.shadow_params):
                shadow.copy_(averages[str(i)])
            self._load_moments(_below("optimizer.", tensors))
            self.step, self.losses = scalars["step"], scalars["losses"]
            self.seconds = scalars["seconds"]
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"the state in {folder} is damaged ({str(error).splitlines()[0]}); "
                "delete that folder to train from the start"
            ) from error
        self.ema.optimization_step = self.step

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        moments: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        content = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**content, "state": moments})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
