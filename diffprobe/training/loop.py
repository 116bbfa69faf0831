"""The training loop: regress the noise (or x_0, or v) of symbol images, resumably.

Every draw of step s comes from (seed, "training", s), so a resumed run equals an uninterrupted
one bit for bit on the same machine and number of threads.
"""

import copy
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import ModelMixin
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

from diffprobe.config import Config, TrainingConfig
from diffprobe.datasets import SymbolImages, WordSplit, build_dataset
from diffprobe.foundations.atomic import remove
from diffprobe.foundations.devices import device_name, resolve_device
from diffprobe.foundations.errors import InterruptedRunError, NonFiniteLossError, UsageError
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.seeding import generator
from diffprobe.models.build import build_network
from diffprobe.models.checkpoint import save_checkpoint
from diffprobe.models.denoiser import noise_scheduler, training_target
from diffprobe.training.run_folder import RunFolder
from diffprobe.training.state import TrainingState

logger = logging.getLogger("diffprobe")


def train(
    config: Config, out: str | Path, device: str = "auto", progress: Progress = silent
) -> RunFolder:
    """Train a denoiser, or continue or recognise a training of the same configuration in `out`.

    Args:
        config: What to train; see `diffprobe.config`.
        out: The run folder.
        device: "auto", "cpu", "cuda", "cuda:1", …
        progress: Called as tqdm is.

    Returns:
        The run folder, training done.

    Raises:
        UsageError: If the configuration does not fit together, or `out` holds another run.
        NonFiniteLossError: At the first loss that is not finite; the last checkpoint stays.
        InterruptedRunError: After Ctrl-C or SIGTERM; the same call continues.
    """
    _check(config.training)
    accelerator = _accelerator(device, config.training.mixed_precision)
    trainer = Trainer(config, accelerator)
    run = RunFolder.open(Path(out), config, accelerator.device)
    if run.checkpoint_path(config.training.steps).exists():
        return run
    trainer.fit(run, progress)
    return run


class Trainer:
    """One training: its data, its state and its step."""

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.dataset = build_dataset(config)
        self.split = WordSplit(self.dataset.grammar, config.data.training_words, config.data.seed)
        self.scheduler = noise_scheduler(config.noise)
        self.alphas_cumprod: Tensor = self.scheduler.alphas_cumprod.to(self.device)

        settings = config.training
        network = build_network(config.model, self.dataset.image_shape, settings.seed)
        network = network.to(self.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        ema = EMAModel(
            network.parameters(), settings.ema_decay, use_ema_warmup=True, power=3 / 4, foreach=True
        )
        self.state = TrainingState(network, ema, optimizer)
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        self.learning_rate = get_scheduler(
            settings.lr_schedule,
            # A throw-away optimizer: only the schedule's formula is wanted.
            torch.optim.SGD([torch.zeros(1)], lr=1.0),
            num_warmup_steps=settings.warmup_steps,
            num_training_steps=settings.steps,
        ).lr_lambdas[0]
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.validation = _ValidationBatch(self.dataset, self.split, settings, self.alphas_cumprod)

    def fit(self, run: RunFolder, progress: Progress) -> None:
        """Train from the run's latest state to its last step."""
        settings, state = self.config.training, self.state
        resume = run.path / "resume"
        if resume.exists():
            state.load(resume)
            self._warn_of_changes(run)
        run.forget_metrics_after(state.step)
        saved = checkpoint_steps(settings.steps, settings.checkpoints)
        losses: list[Tensor] = []
        started = time.monotonic() - state.seconds
        with _stop_signals() as stopped:
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
                logs = state.step % settings.log_every == 0 or state.step == settings.steps
                saves = state.step % settings.save_every == 0 or state.step in saved
                if not (logs or saves or stopped.is_set()):
                    continue
                # Losses stay on the device between these points: reading one waits for the GPU.
                self._collect(losses)
                state.seconds = time.monotonic() - started
                if logs:
                    run.append_metrics(line := self._metrics())
                    state.losses = []
                    bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
                if state.step in saved and self.accelerator.is_main_process:
                    self._save_checkpoint(run)
                if self.accelerator.is_main_process and state.step < settings.steps:
                    state.save(resume)
                if stopped.is_set():
                    bar.close()
                    raise InterruptedRunError(
                        f"stopped at step {state.step:,} of {settings.steps:,}; "
                        f"{run.path} is saved, and the same command continues it"
                    )
        remove(resume)

    def _step(self, step: int) -> Tensor:
        settings = self.config.training
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * self.learning_rate(step)
        rank = self.accelerator.process_index
        random = generator(settings.seed, f"training/{rank}", step, self.device)
        words = self.split.draw_training(settings.batch_size, random)
        x_0 = self.dataset.draw(words, random)
        t = torch.randint(
            len(self.alphas_cumprod), (len(x_0),), generator=random, device=self.device
        )
        eps = torch.randn(x_0.shape, generator=random, device=self.device)
        with self.accelerator.autocast():
            loss = _loss(self.model, x_0, t, eps, self.alphas_cumprod, self._prediction_type)
        self.accelerator.backward(loss)
        if settings.gradient_clip > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.ema.step(self.state.network.parameters())
        return loss.detach()

    @property
    def _prediction_type(self) -> str:
        return self.config.noise.prediction_type

    def _collect(self, losses: list[Tensor]) -> None:
        """Move pending losses into the state; raise at the first that is not finite."""
        values = torch.stack(losses).float().tolist()
        first = self.state.step - len(values) + 1
        losses.clear()
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss of step {first + offset:,} is {value}; training stopped, and the "
                    "last checkpoint stays. Lower training.learning_rate, or check the images",
                    first + offset,
                )
        self.state.losses += values

    def _metrics(self) -> dict[str, Any]:
        self.state.ema.copy_to(self.averaged.parameters())
        return {
            "step": self.state.step,
            "loss": sum(self.state.losses) / len(self.state.losses),
            "validation_loss": self.validation.loss(self.state.network, self._prediction_type),
            "validation_loss_ema": self.validation.loss(self.averaged, self._prediction_type),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.state.seconds, 3),
        }

    def _save_checkpoint(self, run: RunFolder) -> None:
        if any(not p.isfinite().all() for p in self.state.network.parameters()):
            raise NonFiniteLossError(
                f"the weights after step {self.state.step:,} are not finite; training stopped, "
                "and the last checkpoint stays. Lower training.learning_rate",
                self.state.step,
            )
        target = run.checkpoint_path(self.state.step)
        if target.exists():
            return  # written before a kill; training repeats bit for bit
        self.state.ema.copy_to(self.averaged.parameters())
        save_checkpoint(target, self.averaged, self.state.network, self.scheduler)

    def _warn_of_changes(self, run: RunFolder) -> None:
        before = run.description()
        for key, now in (
            ("device", device_name(self.device)),
            ("threads", torch.get_num_threads()),
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


class _ValidationBatch:
    """One fixed draw of (x_0, t, eps), so that differences of 1 % between steps can be seen."""

    def __init__(
        self,
        dataset: SymbolImages,
        split: WordSplit,
        settings: TrainingConfig,
        alphas_cumprod: Tensor,
    ) -> None:
        n, levels = settings.validation_size, len(alphas_cumprod)
        random = generator(settings.seed, "validation")
        words = split.draw_held_out(n, random)
        device = alphas_cumprod.device
        self.x_0 = dataset.draw(words, random).to(device)
        # Stratified: the noise levels are spread evenly, not drawn.
        self.t = ((torch.arange(n) + 0.5) * levels / n).long().to(device)
        self.eps = torch.randn(self.x_0.shape, generator=random).to(device)
        self.alphas_cumprod = alphas_cumprod
        self.batch_size = settings.batch_size

    @torch.no_grad()
    def loss(self, network: ModelMixin, prediction_type: str) -> float:
        total = 0.0
        for rows in torch.arange(len(self.t), device=self.t.device).split(self.batch_size):
            loss = _loss(
                network,
                self.x_0[rows],
                self.t[rows],
                self.eps[rows],
                self.alphas_cumprod,
                prediction_type,
            )
            total += loss.item() * len(rows)
        return total / len(self.t)


def checkpoint_steps(steps: int, n: int) -> list[int]:
    """Return up to `n` log-spaced steps, the last one `steps`, the first near a hundredth of it.

    >>> checkpoint_steps(1600, 5)
    [16, 51, 160, 506, 1600]
    """
    if n == 1:
        return [steps]
    first = max(1, steps // 100)
    ratio = steps / first
    return sorted({round(first * ratio ** (i / (n - 1))) for i in range(n)})


def _loss(
    network: Any, x_0: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> Tensor:
    product = alphas_cumprod[t].reshape(-1, 1, 1, 1)
    alpha, sigma = product.sqrt(), (1 - product).sqrt()
    output = network(alpha * x_0 + sigma * eps, t).sample
    target = training_target(prediction_type, x_0, eps, alpha, sigma)
    return torch.nn.functional.mse_loss(output.float(), target)


def _check(settings: TrainingConfig) -> None:
    for name in (
        "steps",
        "batch_size",
        "checkpoints",
        "save_every",
        "log_every",
        "validation_size",
    ):
        if getattr(settings, name) < 1:
            raise UsageError(f"training.{name} must be at least 1, not {getattr(settings, name)}")
    if settings.learning_rate <= 0:
        raise UsageError(f"training.learning_rate must be positive, not {settings.learning_rate}")
    if not 0 <= settings.ema_decay < 1:
        raise UsageError(f"training.ema_decay must lie in [0, 1), not {settings.ema_decay}")


def _accelerator(device: str, mixed_precision: str) -> Accelerator:
    # accelerate keeps one state a process and refuses a second device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    chosen = resolve_device(device)
    accelerator = Accelerator(cpu=chosen.type == "cpu", mixed_precision=mixed_precision)
    if chosen.index is not None and accelerator.num_processes == 1:
        accelerator.state.device = chosen
        torch.cuda.set_device(chosen)
    return accelerator


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event that the loop looks at between steps.

    A second Ctrl-C stops at once.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # only the main thread may set handlers
        return

    def stop(signum: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
