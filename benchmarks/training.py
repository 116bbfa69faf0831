"""A step of training beside a bare loop, and beside what else one would train with.

    pip install --no-deps smalldiffusion denoising-diffusion-pytorch ema-pytorch   # the peers
    python benchmarks/training.py [--compile] [PRESET ...]

All train a copy of the same network on the same images, batch and precision, in turns of some
steps in one process; printed are medians over the turns and the range of the middle half. The bare
loop is forward, backward and fused AdamW on tensors that are there; with --compile there is another
one, of the network as torch.compile makes it. A step of diffprobe draws words, renders them, adds
noise, clips, averages and, as often as the preset says, validates: a validation is timed by itself,
and each step bears its share. The table at the end has the ratios of all presets, above 1 where
diffprobe is faster.
"""

import copy
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

os.environ["TQDM_DISABLE"] = "1"  # before any peer makes a bar

import torch
from accelerate import Accelerator
from ratios import Ratio
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from diffprobe.config import Config
from diffprobe.foundations.seeding import generator
from diffprobe.resolution import resolve
from diffprobe.training.loop import Trainer

PRESETS = (
    "hypercube-mlp",
    "hypercube-residual-mlp",
    "parity-mlp",
    "parity-transformer",
    "parity-unet",
)
TURNS = 11
SECONDS = 0.6  # of a turn
IMAGES = 1024  # of a peer's training set

Steps = Callable[[int], None]


def bare(network: nn.Module, config: Config, images: Tensor) -> Steps:
    """Forward, backward, fused AdamW; nothing else."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    x = images[: config.training.batch_size]
    t, target = torch.randint(1000, (len(x),)), torch.randn_like(x)

    def steps(n: int) -> None:
        for _ in range(n):
            loss = nn.functional.mse_loss(network(x, t).sample, target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return steps


def compiled(network: nn.Module, config: Config, images: Tensor) -> Steps:
    """The bare loop with a network that torch.compile has seen."""
    begun = time.perf_counter()
    steps = bare(torch.compile(network), config, images)  # type: ignore[arg-type]
    steps(1)
    print(f"  compiled in {time.perf_counter() - begun:.0f} s", flush=True)
    return steps


class Diffprobe:
    """The trainer itself."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self, n: int) -> None:
        """Train `n` steps more."""
        state = self.trainer.state
        losses = []
        for _ in range(n):
            losses.append(self.trainer._step(state.step))
            state.step += 1
        self.trainer.recorder.collect(losses)

    def validation(self) -> float:
        """Return a step's share of the seconds that metrics take."""
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            self.trainer.recorder.metrics()
            times.append(time.perf_counter() - begun)
        self.trainer.state.losses = []
        return statistics.median(times) / self.trainer.config.training.log_every


def loader_and_accelerate(network: nn.Module, config: Config, images: Tensor) -> Steps:
    """The loop of diffusers' example of unconditional training."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    accelerator, scheduler = Accelerator(cpu=True), DDPMScheduler()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=1e-6)
    ema = EMAModel(network.parameters(), use_ema_warmup=True)
    rates = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=10**6)
    loader = DataLoader(TensorDataset(images), config.training.batch_size, shuffle=True)
    model, optimizer, loader, rates = accelerator.prepare(network, optimizer, loader, rates)
    bar = tqdm(disable=True)

    def forever() -> Iterator[Tensor]:
        while True:
            for (clean,) in loader:
                yield clean

    batches = forever()

    def steps(n: int) -> None:
        for _ in range(n):
            clean = next(batches)
            noise = torch.randn_like(clean)
            t = torch.randint(0, 1000, (len(clean),), device=clean.device).long()
            noisy = scheduler.add_noise(clean, noise, t)
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(noisy, t).sample.float(), noise.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                rates.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                ema.step(model.parameters())
                bar.update(1)
            bar.set_postfix(loss=loss.detach().item(), lr=rates.get_last_lr()[0])

    return steps


def smalldiffusion(network: nn.Module, config: Config, images: Tensor) -> Steps:
    """smalldiffusion's `training_loop`; it has no average and does not clip."""
    peer = _peer("smalldiffusion")

    class Model(nn.Module, peer.ModelMixin):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
            return self.network(x, (1000 * sigma.flatten()).long().clamp(max=999)).sample  # type: ignore[no-any-return]

    class Images(Dataset[Tensor]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Tensor:
            return images[index]

    loader = DataLoader(Images(), config.training.batch_size, shuffle=True)
    schedule = peer.ScheduleDDPM(1000)
    running = peer.training_loop(loader, Model(), schedule, Accelerator(cpu=True), epochs=10**9)

    def steps(n: int) -> None:
        for _ in range(n):
            next(running)

    return steps


def denoising_diffusion_pytorch(network: nn.Module, config: Config, images: Tensor) -> Steps:
    """The `Trainer` of denoising-diffusion-pytorch, on images that are in memory already."""
    peer = importlib.import_module(
        _peer("denoising_diffusion_pytorch").__name__ + ".denoising_diffusion_pytorch"
    )
    channels, height, width = images.shape[1:]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.channels = self.out_dim = channels
            self.self_condition = False

        def forward(self, x: Tensor, t: Tensor, _: Any = None) -> Tensor:
            return self.network(x, t).sample  # type: ignore[no-any-return]

    class Images(Dataset[Tensor]):
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Tensor:
            return (images[index] + 1) / 2

    peer.Dataset = Images  # instead of a folder of pictures to decode
    peer.cpu_count = lambda: 0  # workers that read ahead would do so in the others' turns
    peer.tqdm = lambda **told: tqdm(**{**told, "disable": True})
    diffusion = peer.GaussianDiffusion(Model(), image_size=(height, width))
    trainer = peer.Trainer(
        diffusion,
        ".",
        train_batch_size=config.training.batch_size,
        train_num_steps=0,
        save_and_sample_every=10**9,
        results_folder=tempfile.mkdtemp(),
        calculate_fid=False,
    )
    trainer.accelerator.print = lambda *_: None

    def steps(n: int) -> None:
        trainer.train_num_steps += n
        trainer.train()

    return steps


def _peer(name: str) -> Any:
    """Import a peer; torchvision, which it reads pictures with, is not needed here."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        sys.modules["torchvision"] = MagicMock()
    return importlib.import_module(name)


CONTENDERS: dict[str, Callable[[nn.Module, Config, Tensor], Steps]] = {
    "bare loop": bare,
    "smalldiffusion": smalldiffusion,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
    "DataLoader and accelerate": loader_and_accelerate,
}


def floor(network: nn.Module, config: Config, images: Tensor) -> str:
    """What a step's arithmetic would take at the rate of this machine's matrix products."""
    with FlopCounterMode(display=False) as counted:
        bare(copy.deepcopy(network), config, images)(1)
    a, b = torch.randn(2, 2048, 2048)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begun)
    rate = 2 * 2048**3 / min(times)
    work = counted.get_total_flops()
    return (
        f"{work / 1e9:.2f} GFLOP a step at {rate / 1e9:.0f} GFLOP/s: not under "
        f"{work / rate * 1e3:.2f} ms"
    )


def compare(preset: str) -> dict[str, Ratio]:
    """Print the time of a step of each, and return its ratio to diffprobe's."""
    config = resolve(preset=preset, assignments=["training.steps=1000000"])
    trainer = Trainer(config, Accelerator(cpu=True))
    images = trainer.dataset.draw_images(IMAGES, generator(0, "benchmark"))
    print(f"{preset}: batch {config.training.batch_size}, images {tuple(images.shape[1:])}")
    print(f"  {floor(trainer.state.network, config, images)}")
    ours = Diffprobe(trainer)
    running: dict[str, Steps] = {"diffprobe": ours}
    for name, make in CONTENDERS.items():
        try:
            running[name] = make(copy.deepcopy(trainer.state.network), config, images)
        except ImportError as error:
            print(f"  {name}: not installed ({error})")
    for steps in running.values():
        steps(3)
    begun = time.perf_counter()
    running["bare loop"](3)
    n = max(1, round(SECONDS / (time.perf_counter() - begun) * 3))
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(TURNS):
        for name, steps in running.items():
            begun = time.perf_counter()
            steps(n)
            times[name].append((time.perf_counter() - begun) / n)
    validation = ours.validation()
    times["diffprobe"] = [t + validation for t in times["diffprobe"]]
    found = {}
    for name, each in times.items():
        found[name] = Ratio.of(each, times["diffprobe"])
        told = f"  {name:28} {statistics.median(each) * 1e3:8.2f} ms a step"
        if name != "diffprobe":
            told += f", {found[name]} of diffprobe's"
        print(told, flush=True)
    return found


def table(found: dict[str, dict[str, Ratio]]) -> str:
    """One line a contender, one column a preset: its step over diffprobe's."""
    width = max(len(preset) for preset in found)
    lines = [f"{'step / diffprobe':28}" + "".join(f"  {preset:>{width}}" for preset in found)]
    for name in CONTENDERS:
        row = (f"{each[name].middle:.2f}" if name in each else "–" for each in found.values())
        lines.append(f"{name:28}" + "".join(f"  {number:>{width}}" for number in row))
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(f"{torch.get_num_threads()} threads, medians of {TURNS} turns in one process")
    names = [name for name in sys.argv[1:] if name != "--compile"]
    if len(names) < len(sys.argv) - 1:
        CONTENDERS["bare loop, compiled"] = compiled
    print(table({name: compare(name) for name in names or PRESETS}))
