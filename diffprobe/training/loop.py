"""The training loop: regress the noise (or x_0, or v) of symbol images, resumably.

Every draw of step s comes from (seed, "training", s), so a resumed run equals an uninterrupted
one bit for bit on the same machine and number of threads.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import clip_grads_with_norm_

from diffprobe.config import Config
from diffprobe.foundations.allocator import keep_freed_memory
from diffprobe.foundations.devices import device_name
from diffprobe.foundations.errors import (
    CheckpointError,
    InterruptedRunError,
    UsageError,
)
from diffprobe.foundations.progress import Progress, as_progress
from diffprobe.foundations.signals import exit_code, stop_signals
from diffprobe.models.denoiser import noise_scheduler
from diffprobe.training.batches import Batches
from diffprobe.training.horizon import check_extension
from diffprobe.training.objective import telling
from diffprobe.training.processes import Processes, make_accelerator
from diffprobe.training.recording import Recorder
from diffprobe.training.run_folder import Branch, RunFolder
from diffprobe.training.state import TrainingState
from diffprobe.training.validation import ValidationBatch

logger = logging.getLogger("diffprobe")


def train(
    config: Config,
    out: str | Path,
    device: str = "auto",
    progress: Progress | bool = True,
    *,
    branch: Branch | None = None,
) -> RunFolder:
    """Train a denoiser, or continue or recognise a training of the same configuration in `out`.

    A finished run goes on where `training.steps` asks for more of them and the learning rates of
    the steps that are done do not change.

    Args:
        config: What to train; see `diffprobe.config`.
        out: The run folder.
        device: "auto", "cpu", "cuda", "cuda:1", …
        progress: Whether to show it, or what is called as tqdm is.
        branch: Another run's step to start from instead of fresh weights, its optimizer's state
            included.

    Returns:
        The run folder, training done.

    Raises:
        UsageError: If the configuration does not fit together, or `out` holds another run.
        InUseError: If another process trains in `out`.
        NonFiniteLossError: At the first loss, or the first weights to be stored, that are not
            finite; the last checkpoint stays.
        InterruptedRunError: After Ctrl-C, SIGTERM or SIGUSR1; the same call continues.
        ProcessError: If another process of the same training failed.
    """
    run = RunFolder(Path(out))
    trainer = prepare(config, device, branch, begun=run.state_path.exists())
    processes = trainer.processes
    with ExitStack() as lock, processes.connected():
        if processes.as_main_says(run.is_finished(config, branch)):
            return run
        with processes.agreeing():
            if processes.is_main:
                lock.enter_context(run.written())
                open_run(run, config, trainer.device, branch)
        if not processes.as_main_says(run.is_finished(config, branch)):
            trainer.fit(run, as_progress(progress if processes.is_main else False), branch)
    return run


def open_run(
    run: RunFolder,
    config: Config,
    device: torch.device,
    branch: Branch | None = None,
    *,
    replicas: int = 1,
) -> None:
    """Make the run folder, or take up one that trains the same, perhaps not as far.

    Raises:
        UsageError: If it holds another training, or the one that it holds cannot go so far.
    """
    RunFolder.open(run.path, config, device, branch, replicas)
    before = run.config()
    if before.training.steps != config.training.steps:
        check_extension(before, config, run.steps_done())
    run.change_horizon(config)


def prepare(
    config: Config, device: str = "auto", branch: Branch | None = None, *, begun: bool = False
) -> "Trainer":
    """Return what is to be trained, all of it made and checked; nothing is written.

    Args:
        config, device, branch: As `train` takes them.
        begun: Whether the run has a state of its own: a branch then needs the other run no more.

    Raises:
        UsageError: If the configuration does not fit together, or the branch does not fit it.
        CheckpointError: If there is no state to branch off from.
    """
    settings = config.training
    if (n := settings.replicas) > 1:
        raise UsageError(f"training.replicas={n} makes {n} runs, and one is asked for here")
    accelerator = make_accelerator(device, settings.mixed_precision, compiled=settings.compile)
    trainer = Trainer(config, accelerator)
    if branch is not None:
        _check_branch(branch, config, begun)
    return trainer


class Trainer:
    """One training: its data, its state, its step, and what records it."""

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        keep_freed_memory()
        self.config = config
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.dataset = config.dataset()
        self.stream = config.stream.build(self.dataset.grammar)
        self.scheduler = noise_scheduler(config.noise)
        self.objective = config.objective.build(self.scheduler, self.dataset).to(self.device)
        settings = config.training
        self.processes = Processes(accelerator, settings.batch_size)
        if self.processes.count > 1 and self.objective.penalties:
            raise UsageError(
                "a penalty of the objective is not the mean of what it is on parts of a batch: "
                "train in one process, or without objective.score_variance and from_product"
            )
        self.stream.check(settings.steps, settings.batch_size)
        self.learning_rates = config.learning_rate.array(settings.steps).tolist()
        self.replicas = 1  # with how many others, this one included, it is computed at once
        conditions = config.condition.build(self.dataset.grammar)
        self.batches = Batches(
            self.stream, self.dataset, settings, self.device, conditions, config.condition.drop
        )
        network = config.network.build(
            self.dataset.image_shape, settings.seed, self.dataset.grid, conditions
        )
        if self.objective.schedule.cells is not None and not config.network.levels_by_cell:
            raise UsageError(
                "the objective draws a noise level for each cell; the network takes one an image: "
                "set network.levels_by_cell = true"
            )
        network = network.to(self.device)
        optimizer = config.optimizer.build(network.parameters())
        averages = {
            name: kind.build(network.parameters()) for name, kind in config.averages.items()
        }
        self.state = TrainingState(network, averages, optimizer)
        self.weights = list(network.parameters())
        self.model = accelerator.prepare(network)
        # What accelerate puts around optimizer and backward pass is for a gradient scaler, which
        # bf16 does without; the one searches the disk for other optimizers at each step.
        self.optimizer = optimizer
        self.precision = nullcontext if settings.mixed_precision == "no" else self._bf16
        validation = ValidationBatch(
            self.dataset, self.stream, settings, self.objective, self.device, conditions
        )
        self.recorder = Recorder(settings, self.state, self.scheduler, validation, self.processes)

    def fit(self, run: RunFolder, progress: Progress, branch: Branch | None = None) -> None:
        """Train from the run's latest state to its last step."""
        settings, state, processes = self.config.training, self.state, self.processes
        self.begin(run, branch)
        losses: list[Tensor] = []
        # torchrun passes on what all of a terminal's processes have got already.
        with stop_signals(again_ends=processes.count == 1) as arrived:
            bar = progress(
                range(state.step, settings.steps),
                desc="train",
                initial=state.step,
                total=settings.steps,
                unit="step",
            )
            for step in bar:
                losses.append(self._step(step))
                state.step = step + 1
                stopped = processes.most(arrived[0] if arrived else 0)
                if not (self.recorder.is_due() or stopped):
                    continue
                if line := self.recorder.record(run, losses):
                    bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
                if stopped and state.step < settings.steps:
                    bar.close()
                    raise InterruptedRunError(
                        f"stopped at step {state.step:,} of {settings.steps:,}; "
                        f"{run.path} is saved, and the same command continues it",
                        exit_code(stopped),
                    )

    def begin(self, run: RunFolder, branch: Branch | None = None) -> None:
        """Take up the run's latest state, or that of a branch, or start with fresh weights."""
        state, processes = self.state, self.processes
        with processes.agreeing():
            if states := run.states():
                self._go_on(states)
                self._warn_of_changes(run)
            elif branch is not None:
                state.load(branch.state_path, branch=True)
            if processes.is_main:
                run.forget_after(state.step)
        processes.check_equal(state.weights(), state.step)
        self.recorder.start_clock()

    def _go_on(self, states: list[Path]) -> None:
        """Take up the latest of a run's states that is whole."""
        latest, *earlier = states
        try:
            self.state.load(latest)
        except CheckpointError as error:
            if not earlier:
                raise CheckpointError(f"{error}; delete it to train from the start") from error
            logger.warning("%s; training goes on from %s", error, earlier[0])
            self._go_on(earlier)

    def _step(self, step: int) -> Tensor:
        (x_0, t, eps, *told), random = self.draw(step)
        with self.precision():
            network = telling(self.model, told[0] if told else None)
            loss = self.objective.loss(network, x_0, t, eps, random)
        loss.backward()
        self.update(step)
        return loss.detach()

    def draw(self, step: int) -> tuple[list[Tensor], torch.Generator]:
        """Return what a step is computed from, and its generator after it was drawn.

        Returns:
            Images, noise levels, noise and, of a network that is told conditions, these.
        """
        x_0, told, random = self.batches.draw(step)
        drawn = [x_0, *self.objective.draw(x_0, random), *([] if told is None else [told])]
        return [self.processes.part(each) for each in drawn], random

    def update(self, step: int) -> None:
        """Move the weights by their gradients, which are gone then, and the averages by them."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rates[step]
        if (most := self.config.training.gradient_clip) > 0:
            self._clip(most)
        self.optimizer.step()
        for weight in self.weights:
            weight.grad = None
        for average in self.state.averages.values():
            average.update(step + 1, self.weights)

    @contextmanager
    def _bf16(self) -> Iterator[None]:
        # On a CPU the backward pass of PyTorch's fused attention (2.13) takes ten times as long in
        # bfloat16 as in float32, and the plain one does not.
        on_cpu = self.device.type == "cpu"
        with self.accelerator.autocast(), sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext():
            yield

    def _clip(self, most: float) -> None:
        norms = torch._foreach_norm([w.grad for w in self.weights if w.grad is not None])
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.optimizer.defaults.get("fused"):
            # A fused step divides the gradient on its way, and nothing waits for the norm.
            self.optimizer.grad_scale = norm.div_(most).clamp_(min=1)  # type: ignore[attr-defined]
        else:
            clip_grads_with_norm_(self.weights, most, norm)

    def _warn_of_changes(self, run: RunFolder) -> None:
        before = run.description()
        for key, now in (
            ("device", device_name(self.device)),
            ("threads", torch.get_num_threads()),
            ("processes", self.processes.count),
            ("replicas", self.replicas),
        ):
            if before.get(key) != now:
                logger.warning(
                    "%s was begun with %s %s and goes on with %s: the weights will differ in "
                    "their last bits from an uninterrupted run",
                    run.path,
                    key,
                    before.get(key),
                    now,
                )


def _check_branch(branch: Branch, config: Config, begun: bool) -> None:
    if config.training.steps <= branch.step:
        raise UsageError(
            f"the branch begins at step {branch.step:,}, and training.steps="
            f"{config.training.steps:,} counts from the first step of {branch.run}: ask for more"
        )
    # Once it has a state of its own, a branch goes on without the other run.
    if not begun:
        branch.state_path  # noqa: B018
