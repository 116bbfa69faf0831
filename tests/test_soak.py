"""A sample of `make soak`, and what a training leaves behind in its process."""

import gc
import hashlib
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import soak
import torch

from diffprobe.config import Config
from diffprobe.foundations.signals import SIGNALS
from diffprobe.training import train


@pytest.mark.slow
def test_killed_at_random_moments_a_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    told = soak.killed(5, tmp_path, seed=0)
    assert told.pop("trainings of the same bits") >= 1
    assert told.total() == 5


def test_growth_is_found() -> None:
    flat = [soak.Taken(step, 10**8 + 4096 * (step % 3), 1, 1, 1) for step in range(400)]
    slope, half = soak.growth(flat)
    assert abs(slope) <= half
    leaking = [replace(t, bytes=t.bytes + 80 * t.step) for t in flat]
    slope, half = soak.growth(leaking)
    assert slope - half < 80 < slope + half
    assert slope > 2 * half


def left() -> dict[str, object]:
    """What a process has that a training could leave changed."""
    gc.collect()
    process = psutil.Process()
    return {
        "modules": sum(issubclass(type(each), torch.nn.Module) for each in gc.get_objects()),
        "tensors": sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()),
        "open files": process.num_fds(),
        "threads": process.num_threads(),
        "handlers": [signal.getsignal(number) for number in SIGNALS],
        "randomness": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
    }


def test_nothing_is_left_of_a_training(tiny_config: Config, tmp_path: Path) -> None:
    def trained(name: str, **changes: object) -> None:
        training = replace(tiny_config.training, steps=4, **changes)  # type: ignore[arg-type]
        train(replace(tiny_config, training=training), tmp_path / name, "cpu")

    trained("first")
    before = left()
    trained("second", mixed_precision="bf16")
    trained("third")
    assert left() == before
    pairs = [sorted(tmp_path.glob(f"{name}/**/*.safetensors")) for name in ("first", "third")]
    assert [p.read_bytes() for p in pairs[0][:-1]] == [p.read_bytes() for p in pairs[1][:-1]]
