"""Several seeds of one configuration, trained in one vectorised program.

The weights of all of them are stacked, and one forward and backward pass by `torch.func.vmap` goes
over the stack. All else is each one's own and as if it was trained alone: what it draws, its
clipping, its optimizer, averages, metrics and run folder. So what comes out is what training one
after another gives, up to the rounding of products that are computed in batches.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffprobe.config import Config
from diffprobe.foundations.errors import (
    InterruptedRunError,
    NonFiniteLossError,
    UsageError,
    first_line,
)
from diffprobe.foundations.progress import Progress, as_progress
from diffprobe.foundations.settings import differences, to_settings
from diffprobe.foundations.signals import exit_code, stop_signals
from diffprobe.training.loop import Trainer, open_run, prepare
from diffprobe.training.run_folder import RunFolder

logger = logging.getLogger("diffprobe")


def replica_configs(config: Config) -> list[Config]:
    """Return what each of `training.replicas` is alone: seeds from `training.seed` on.

    Raises:
        UsageError: If the last seed has more than 64 bits.
    """
    settings = config.training
    return [
        dataclasses.replace(
            config, training=dataclasses.replace(settings, seed=settings.seed + k, replicas=1)
        )
        for k in range(settings.replicas)
    ]


def replica_path(out: Path, config: Config) -> Path:
    """Return the run folder of one replica among those in `out`."""
    return out / f"seed-{config.training.seed}"


def train_replicas(
    configs: Sequence[Config],
    outs: Sequence[str | Path],
    device: str = "auto",
    progress: Progress | bool = True,
) -> list[RunFolder]:
    """Train configurations that differ in `training.seed` only, together; or continue to.

    Each run folder is what `train` would leave, and either goes on with what the other began. Runs
    that are behind the others, after a kill, catch up first. One whose loss is not finite stops;
    the others go on.

    Args:
        configs: What to train.
        outs: A run folder for each.
        device: "auto", "cpu", "cuda", "cuda:1", …
        progress: Whether to show it, or what is called as tqdm is.

    Returns:
        The run folders, training done.

    Raises:
        UsageError: If the configurations differ in more than the seed, cannot be trained together,
            or a folder holds another run.
        InUseError: If another process trains in one of the folders.
        NonFiniteLossError: When the others are done, if some stopped at a loss or weights that are
            not finite; their last checkpoints stay.
        InterruptedRunError: After Ctrl-C or SIGTERM; all are saved, and the same call continues.
    """
    runs = [RunFolder(Path(out)) for out in outs]
    _check(configs, runs)
    if all(run.is_finished(config) for run, config in zip(runs, configs, strict=True)):
        return runs
    stack = prepare_replicas(configs, device)
    with ExitStack() as locks:
        for run, trainer in zip(runs, stack.trainers, strict=True):
            if not run.is_finished(trainer.config):
                locks.enter_context(run.written())
                open_run(run, trainer.config, trainer.device, replicas=len(runs))
        _fit(stack, runs, as_progress(progress))
    return runs


def prepare_replicas(configs: Sequence[Config], device: str = "auto") -> "Stack":
    """Return what is to be trained, all of it made and checked; nothing is written.

    Raises:
        UsageError: If the configuration does not fit together, or cannot be trained so.
    """
    if configs[0].training.compile:
        raise UsageError("replicas are not compiled: set training.compile = false")
    first = prepare(configs[0], device)
    if first.processes.count > 1:
        raise UsageError("replicas are trained in one process: start them without torchrun")
    if first.objective.penalties:
        raise UsageError(
            "replicas cannot be trained with a penalty of the objective: train one seed after "
            "another, or without objective.score_variance and objective.from_product"
        )
    stack = Stack([first, *(Trainer(config, first.accelerator) for config in configs[1:])])
    _check_vectorises(stack)
    return stack


class Stack:
    """The weights of several trainings as one, (K, …) each, and their loss and gradient.

    The trainings' own weights and buffers become views of the stack: what their optimizers change
    is changed in it.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        for trainer in trainers:
            trainer.replicas = len(trainers)
        self.network: nn.Module = trainers[0].state.network
        self.weights = _stacked([dict(t.state.network.named_parameters()) for t in trainers])
        self.buffers = _stacked([dict(t.state.network.named_buffers()) for t in trainers])
        for weight in self.weights.values():
            weight.requires_grad_()

    def losses(self, x_0: Tensor, t: Tensor, eps: Tensor, told: Tensor | None = None) -> Tensor:
        """Return the loss of each: (K,).

        Args:
            x_0, t, eps: As `Objective.loss` takes them, (K, B, …).
            told: (K, B, M) long, the conditions of networks that are told any.
        """
        objective = self.trainers[0].objective
        random = torch.Generator()  # for penalties, of which there are none

        def loss(
            tensors: dict[str, Tensor], x_0: Tensor, t: Tensor, eps: Tensor, *told: Tensor
        ) -> Tensor:
            def network(x_t: Tensor, timestep: Tensor) -> Any:
                return functional_call(self.network, tensors, (x_t, timestep, *told))

            return objective.loss(network, x_0, t, eps, random)

        # Of PyTorch's attention kernels on a CPU only the plain one goes over a stack.
        cpu = x_0.device.type == "cpu"
        plain = sdpa_kernel(SDPBackend.MATH) if cpu else nullcontext()
        with self.trainers[0].precision(), plain:
            stacks = [x_0, t, eps, *([] if told is None else [told])]
            every: Tensor = vmap(loss)({**self.weights, **self.buffers}, *stacks)
        return every

    def step(self, going: Sequence[int]) -> list[Tensor]:
        """Do the next step of some of the trainings, all at the same one; return their losses."""
        drawn = {k: self.trainers[k].draw(self.trainers[k].state.step)[0] for k in going}
        # A place in the stack that rests takes part, so that bits do not depend on how many go on.
        rows = [drawn.get(k, drawn[going[0]]) for k in range(len(self.trainers))]
        losses = self.losses(*(torch.stack(column) for column in zip(*rows, strict=True)))
        weights = [*self.weights.values()]
        # A fused optimizer takes a gradient to lie in memory as its weight does.
        gradients = [
            None if gradient is None else gradient.contiguous()
            for gradient in torch.autograd.grad(losses.sum(), weights, allow_unused=True)
        ]
        for k in going:
            trainer = self.trainers[k]
            for weight, gradient in zip(trainer.weights, gradients, strict=True):
                weight.grad = None if gradient is None else gradient[k]
            trainer.update(trainer.state.step)
            trainer.state.step += 1
        values = losses.detach()
        return [values[k] for k in going]


def _fit(stack: Stack, runs: Sequence[RunFolder], progress: Progress) -> None:
    """Train all from their latest states to the last step, those that are behind first."""
    steps = stack.trainers[0].config.training.steps
    for run, trainer in zip(runs, stack.trainers, strict=True):
        if run.is_finished(trainer.config):
            trainer.state.step = steps  # nothing is left to do, and the run is left alone
        else:
            trainer.begin(run)
    losses: list[list[Tensor]] = [[] for _ in runs]
    failures: dict[int, NonFiniteLossError] = {}
    with stop_signals() as arrived:
        first = min(trainer.state.step for trainer in stack.trainers)
        bar = progress(
            range(first, steps),
            desc=f"train {len(runs)} replicas",
            initial=first,
            total=steps,
            unit="step",
        )
        for step in bar:
            going = [
                k
                for k, trainer in enumerate(stack.trainers)
                if trainer.state.step == step and k not in failures
            ]
            if not going:
                continue
            for k, loss in zip(going, stack.step(going), strict=True):
                losses[k].append(loss)
            stopped = arrived[0] if arrived else 0
            if not (stopped or stack.trainers[going[0]].recorder.is_due()):
                continue
            for k in going:
                try:
                    line = stack.trainers[k].recorder.record(runs[k], losses[k])
                except NonFiniteLossError as failure:
                    failures[k] = failure
                    logger.warning("%s: %s; the other replicas go on", runs[k].path, failure)
                else:
                    if line is not None:
                        bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
            if stopped and step + 1 < steps:
                bar.close()
                raise InterruptedRunError(
                    f"stopped at step {step + 1:,} of {steps:,}; all {len(runs)} replicas are "
                    "saved, and the same command continues them",
                    exit_code(stopped),
                )
    if failures:
        k, why = min(failures.items())
        raise NonFiniteLossError(
            f"{len(failures)} of {len(runs)} replicas stopped, first {runs[k].path}: {why}",
            why.step,
        )


def _stacked(every: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack tensors by name, and make each a view of the stack."""
    stacks = {}
    for name in every[0]:
        stacks[name] = torch.stack([tensors[name].detach() for tensors in every])
        for tensors, part in zip(every, stacks[name], strict=True):
            tensors[name].data = part
    return stacks


def _check(configs: Sequence[Config], runs: Sequence[RunFolder]) -> None:
    if not configs or len(configs) != len(runs):
        raise UsageError(
            f"replicas need a run folder each, and at least one: {len(configs)} configurations and "
            f"{len(runs)} folders were given"
        )
    if len({run.path.absolute() for run in runs}) < len(runs):
        raise UsageError("two replicas were given the same run folder; each needs one of its own")
    seed = configs[0].training.seed
    for config in configs:
        same = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
        if changed := differences(to_settings(configs[0]), to_settings(same)):
            raise UsageError(
                f"replicas differ in training.seed only, and these differ in {changed[0]}"
            )


def _check_vectorises(stack: Stack) -> None:
    """Raise UsageError unless networks of this kind can be computed as a stack."""
    trainer = stack.trainers[0]
    shape = trainer.dataset.image_shape
    zeros = torch.zeros(len(stack.trainers), 2, *shape, device=trainer.device)
    t = trainer.objective.draw_levels(2, torch.Generator(trainer.device))
    before = {name: buffer.clone() for name, buffer in stack.buffers.items()}
    try:
        with torch.no_grad():
            stack.losses(zeros, t.expand(len(stack.trainers), *t.shape), zeros)
    except RuntimeError as error:
        raise UsageError(
            f"the network {trainer.config.network.name!r} cannot be trained as replicas "
            f"({first_line(error)}): train one seed after another"
        ) from error
    for name, buffer in stack.buffers.items():
        buffer.copy_(before[name])
