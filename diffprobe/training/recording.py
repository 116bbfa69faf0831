"""What a training writes down: losses, lines of metrics, checkpoints, the state to go on from."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from diffprobe.config import TrainingConfig
from diffprobe.foundations.errors import NonFiniteLossError
from diffprobe.models.checkpoint import save_checkpoint
from diffprobe.training.horizon import checkpoint_steps
from diffprobe.training.losses import seal
from diffprobe.training.processes import Processes
from diffprobe.training.run_folder import RunFolder
from diffprobe.training.state import TrainingState
from diffprobe.training.validation import ValidationBatch


class Recorder:
    """Writes what is due after a step; one process writes, and all of them agree on what.

    Args:
        settings: When something is due.
        state: Of the training.
        scheduler: Stored with each checkpoint.
        validation: What lines of metrics tell the loss on.
        processes: That train together.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        state: TrainingState,
        scheduler: DDPMScheduler,
        validation: ValidationBatch,
        processes: Processes,
    ) -> None:
        self.settings = settings
        self.state = state
        self.scheduler = scheduler
        self.validation = validation
        self.processes = processes
        self.checkpointed = frozenset(checkpoint_steps(settings.steps, settings.checkpoints))
        self.stored = self.checkpointed | {*settings.keep_states}
        self.averaged = copy.deepcopy(state.network).requires_grad_(False)
        self.start_clock()

    def start_clock(self) -> None:
        """Count from now on what the state's seconds go on with."""
        self.started = time.monotonic() - self.state.seconds

    def is_due(self) -> bool:
        """Whether something is to be written after the steps that are done."""
        step = self.state.step
        return self._logs() or step % self.settings.save_every == 0 or step in self.stored

    def record(self, run: RunFolder, losses: list[Tensor]) -> dict[str, Any] | None:
        """Write what is due, and the state to go on from.

        Args:
            run: Where to.
            losses: Of the steps since the last time; the list is empty then.

        Returns:
            The line of metrics, where there is one.

        Raises:
            NonFiniteLossError: If a loss or a weight is not finite; nothing is written.
        """
        state, processes = self.state, self.processes
        # Losses stay on the device until here: reading one waits for the GPU.
        values = self.collect(losses)
        processes.check_equal(state.weights(), state.step)
        self._check_weights()
        state.seconds = time.monotonic() - self.started
        line = self.metrics() if self._logs() else None
        if line is not None:
            state.losses = []
        with processes.agreeing():
            if processes.is_main:
                run.append_losses(values)
                if line is not None:
                    run.append_metrics(line)
                if state.step in self.checkpointed:
                    self._save_checkpoint(run)
                if state.step in self.settings.keep_states:
                    state.save(run.kept_state_path(state.step))
                # The state last: from it a training goes on, and nothing before it is redone.
                state.save(run.state_path)
        return line

    def collect(self, losses: list[Tensor]) -> list[float]:
        """Move pending losses into the state, and return them.

        Raises:
            NonFiniteLossError: At the first that is not finite.
        """
        values = self.processes.mean(torch.stack(losses).float()).tolist()
        first = self.state.step - len(values) + 1
        losses.clear()
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss of step {first + offset:,} is {value}; training stopped, and the "
                    "last checkpoint stays. Lower learning_rate.peak, or check the images",
                    first + offset,
                )
        self.state.losses += values
        return values

    def metrics(self) -> dict[str, Any]:
        """Return the line of metrics of the steps that are done.

        Raises:
            NonFiniteLossError: If a validation loss is not finite.
        """
        state = self.state
        raw = self.validation.measure(state.network)
        line = {
            "step": state.step,
            "loss": sum(state.losses) / len(state.losses),
            "validation_loss": raw.loss,
        }
        by_level = {"raw": raw.by_level}
        for name in state.averages:
            with self._average(name) as network:
                found = self.validation.measure(network)
            line[f"validation_loss_{name}"] = found.loss
            by_level[name] = found.by_level
        for name, loss in line.items():
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the {name.replace('_', ' ')} after step {state.step:,} is {loss}; "
                    "training stopped, and the last checkpoint stays. Lower learning_rate.peak",
                    state.step,
                )
        return {
            **line,
            "validation_loss_by_level": by_level,
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "losses": seal(state.losses),
            "seconds": round(state.seconds, 3),
        }

    def _logs(self) -> bool:
        step = self.state.step
        return step % self.settings.log_every == 0 or step == self.settings.steps

    @contextmanager
    def _average(self, name: str) -> Iterator[nn.Module]:
        """Put an average's weights into the second network."""
        self.state.averages[name].copy_to(self.averaged.parameters())
        yield self.averaged

    def _check_weights(self) -> None:
        if self.state.all_finite():
            return
        raise NonFiniteLossError(
            f"the weights after step {self.state.step:,} are not finite; training stopped, "
            "and the last checkpoint stays. Lower learning_rate.peak",
            self.state.step,
        )

    def _save_checkpoint(self, run: RunFolder) -> None:
        target = run.checkpoint_path(self.state.step)
        if target.exists():
            return  # written before a kill; training repeats bit for bit
        averages = {}
        for name in self.state.averages:
            with self._average(name) as network:
                averages[name] = copy.deepcopy(network)
        save_checkpoint(target, {**averages, "raw": self.state.network}, self.scheduler)
