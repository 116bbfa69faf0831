import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffprobe.config import Config, to_toml
from diffprobe.datasets.stream import FiniteWords
from diffprobe.datasets.streams.finite import FiniteConfig
from diffprobe.foundations.errors import (
    CheckpointError,
    DiffprobeError,
    NonFiniteLossError,
    UsageError,
)
from diffprobe.foundations.kinds import find
from diffprobe.models import list_checkpoints, load_denoiser
from diffprobe.models.networks import NetworkKind
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.resolution import resolve
from diffprobe.training import RunFolder, loop, train
from diffprobe.training.horizon import checkpoint_steps
from diffprobe.training.learning_rates.constant import ConstantConfig
from diffprobe.training.optimizers.adamw import AdamWConfig

MODELS: list[NetworkKind] = [
    MLPConfig(width=32),
    UNetConfig(channels=(8, 16), layers_per_block=1, attention=(False, True), norm_groups=4),
    TransformerConfig(width=32, depth=1),
]


def weights(run: Path) -> dict[str, Tensor]:
    """Return every tensor of a run's checkpoints, by file and name."""
    found = {}
    for file in sorted(run.glob("checkpoints/*/*/*.safetensors")):
        for name, tensor in load_file(file).items():
            found[f"{file.relative_to(run)}:{name}"] = tensor
    return found


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert len(a) > 0
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert metrics(one) == metrics(other)


def metrics(run: Path) -> list[dict]:
    """Return a run's metrics without what differs from day to day."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in RunFolder(run).metrics()]


class SuddenEndError(Exception):
    """Stands for any sudden end."""


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loop.Trainer._step

    def failing(self: loop.Trainer, at: int) -> Tensor:
        if at == step:
            raise SuddenEndError
        return original(self, at)

    monkeypatch.setattr(loop.Trainer, "_step", failing)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_resumed_run_equals_an_uninterrupted_one(
    model: NetworkKind, tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, network=model)
    train(config, tmp_path / "whole", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(17, patch)  # between the state of step 10 and that of step 20
        with pytest.raises(SuddenEndError):
            train(config, tmp_path / "resumed", "cpu")
    assert RunFolder(tmp_path / "resumed").steps_done() == 10
    run = train(config, tmp_path / "resumed", "cpu")
    assert_same(tmp_path / "whole", tmp_path / "resumed")
    assert run.steps_done() == 30
    assert [m["step"] for m in run.metrics()] == [10, 20, 30]


def test_training_lowers_the_loss_and_the_checkpoints_differ(tiny_run: Path) -> None:
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_loss"] < lines[0]["validation_loss"]
    assert lines[-1]["learning_rate"] < 1e-3
    found = list_checkpoints(tiny_run)
    assert [c.step for c in found] == checkpoint_steps(30, 3) == [1, 5, 30]
    x, t = torch.randn(2, 1, 8, 32), torch.tensor([100, 800])
    ema, raw = (load_denoiser(found[-1].path, w) for w in ("ema", "raw"))
    assert not torch.equal(ema(x, t), raw(x, t))
    first = load_denoiser(found[0].path)
    assert not torch.equal(ema(x, t), first(x, t))
    description = json.loads((tiny_run / "config.json").read_text())
    assert description["threads"] == torch.get_num_threads()
    assert set(description["versions"]) >= {"diffprobe", "torch", "diffusers", "python"}


def test_a_finished_run_is_left_alone(tiny_config: Config, tiny_run: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")}
    train(tiny_config, tiny_run, "cpu")
    assert {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")} == before


def test_other_probes_and_samplers_are_the_same_training(
    tiny_config: Config, tiny_run: Path
) -> None:
    sampling = replace(tiny_config.sampling, steps=3)
    train(replace(tiny_config, sampling=sampling), tiny_run, "cpu")


def test_a_run_of_another_configuration_is_refused(tiny_config: Config, tiny_run: Path) -> None:
    other = replace(tiny_config, training=replace(tiny_config.training, steps=40, seed=1))
    with pytest.raises(UsageError, match=r"another configuration \(training.seed: 1, not 0\)"):
        train(other, tiny_run, "cpu")


def test_a_folder_of_something_else_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="exists and is not a run folder"):
        train(tiny_config, tmp_path, "cpu")
    with pytest.raises(UsageError, match="exists and is not a run folder"):
        train(tiny_config, tmp_path / "thesis.tex", "cpu")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_damaged_state_is_named(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(17, patch)
        with pytest.raises(SuddenEndError):
            train(tiny_config, tmp_path / "run", "cpu")
    state = tmp_path / "run" / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match=r"the state in .*state.safetensors is damaged"):
        train(tiny_config, tmp_path / "run", "cpu")
    for place in (len(whole) // 3, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        state.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="its checksum is not that of its content"):
            train(tiny_config, tmp_path / "run", "cpu")


def test_a_changed_thread_count_is_warned_of(
    tiny_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(17, patch)
        with pytest.raises(SuddenEndError):
            train(tiny_config, tmp_path / "run", "cpu")
    config = tmp_path / "run" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "threads": 99}))
    with caplog.at_level(logging.WARNING, "diffprobe"):
        train(tiny_config, tmp_path / "run", "cpu")
    assert "threads 99 and goes on with 1" in caplog.text


@pytest.mark.parametrize("bad_step", [0, 13])
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(
    bad_step: int, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.Trainer._step

    def poisoned(self: loop.Trainer, at: int) -> Tensor:
        loss = original(self, at)
        return loss * math.nan if at == bad_step else loss

    monkeypatch.setattr(loop.Trainer, "_step", poisoned)
    with pytest.raises(NonFiniteLossError, match=f"the loss of step {bad_step + 1:,} is nan") as e:
        train(tiny_config, tmp_path / "run", "cpu")
    assert e.value.step == bad_step + 1
    kept = [c.step for c in list_checkpoints(tmp_path / "run")] if bad_step else []
    assert kept == ([1, 5] if bad_step else [])


def test_a_diverging_run_stops(tiny_config: Config, tmp_path: Path) -> None:
    config = replace(
        tiny_config,
        training=replace(tiny_config.training, gradient_clip=0.0),
        learning_rate=ConstantConfig(peak=1e6),
    )
    with pytest.raises(NonFiniteLossError, match=r"Lower learning_rate.peak"):
        train(config, tmp_path / "run", "cpu")
    for checkpoint in list_checkpoints(tmp_path / "run"):
        network = load_denoiser(checkpoint.path, "raw").network
        assert all(p.isfinite().all() for p in network.parameters())


def test_a_full_disk_leaves_a_run_that_goes_on(
    tiny_config: Config, tiny_run: Path, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        Path("/dev/full").write_text("x")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffprobe.training.state.save_file", full)
        with pytest.raises(DiffprobeError, match="the disk is full"):
            train(tiny_config, tmp_path / "run", "cpu")
    train(tiny_config, tmp_path / "run", "cpu")
    assert_same(tiny_run, tmp_path / "run")


def test_a_finite_training_set_is_all_that_training_draws(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, stream=FiniteConfig(words=2))
    drawn = []
    original = FiniteWords.draw

    def spying(self: FiniteWords, *arguments: object) -> Tensor:
        drawn.append(original(self, *arguments))  # type: ignore[arg-type]
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FiniteWords, "draw", spying)
        train(config, tmp_path / "run", "cpu")
    assert len(drawn) == 30
    assert len(torch.cat(drawn).unique(dim=0)) == 2


def test_bf16_trains(tiny_config: Config, tmp_path: Path) -> None:
    training = replace(tiny_config.training, mixed_precision="bf16")
    run = train(replace(tiny_config, training=training), tmp_path / "run", "cpu")
    lines = run.metrics()
    assert lines[-1]["validation_loss"] < lines[0]["validation_loss"]
    assert all(v.dtype == torch.float32 for v in weights(run.path).values())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_only_bf16_on_a_cpu_does_without_fused_attention(
    precision: str, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(tiny_config.training, mixed_precision=precision)
    trainer = loop.prepare(replace(tiny_config, training=training), "cpu")
    fused = []
    original = trainer.objective.loss

    def spying(*arguments: Any) -> Tensor:
        fused.append(torch.backends.cuda.flash_sdp_enabled())
        return original(*arguments)

    monkeypatch.setattr(trainer.objective, "loss", spying)
    trainer._step(0)
    assert fused == [precision == "no"]
    assert torch.backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize(("name", "most"), [("adamw", 0.01), ("adamw", 1e3), ("sgd", 0.01)])
def test_steps_are_those_of_a_plain_loop(name: str, most: float, tiny_config: Config) -> None:
    """Clipped by PyTorch, and stepped by an optimizer that is not fused."""
    # With so large an eps a step of AdamW is in proportion to the gradient, as one of SGD is.
    optimizer: Any = AdamWConfig(eps=1.0) if name == "adamw" else find("optimizer", name)()
    training = replace(tiny_config.training, gradient_clip=most)
    config = replace(
        tiny_config, optimizer=optimizer, training=training, learning_rate=ConstantConfig(peak=0.5)
    )
    trainer, other = loop.prepare(config, "cpu"), loop.prepare(config, "cpu")
    plain: Any = (
        torch.optim.AdamW(other.weights, lr=0.5, weight_decay=0.0, eps=1.0, foreach=False)
        if name == "adamw"
        else torch.optim.SGD(other.weights, lr=0.5)
    )
    start = [w.detach().clone() for w in trainer.weights]
    for step in range(3):
        trainer._step(step)
        x_0, _, random = other.batches.draw(step)
        t = other.objective.draw_levels(len(x_0), random)
        eps = torch.randn(x_0.shape, generator=random)
        other.objective.loss(other.model, x_0, t, eps, random).backward()
        norm = torch.nn.utils.clip_grad_norm_(other.weights, most)
        assert (norm > most) == (most < 1)
        plain.step()
        plain.zero_grad()
    for ours, theirs in zip(trainer.weights, other.weights, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    moved = sum((w - s).abs().sum() for w, s in zip(trainer.weights, start, strict=True))
    assert moved > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.steps=0", "training.steps must be a positive integer"),
        ("training.batch_size=-1", "training.batch_size must be a positive integer"),
        ("learning_rate.peak=0.0", "peak must be positive"),
        ("learning_rate.peak=nan", "must be a finite number"),
        ("averages.ema.decay=1.0", r"decay must lie in \[0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(assignments=[change])


def test_an_unknown_device_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device 'gpu9' cannot be used"):
        train(tiny_config, tmp_path / "run", "gpu9")


def test_checkpoints_are_log_spaced() -> None:
    assert checkpoint_steps(5, 1) == [5]
    assert checkpoint_steps(3, 10) == [1, 2, 3]
    steps = checkpoint_steps(10_000, 9)
    assert (steps[0], steps[-1]) == (100, 10_000)
    ratios = [b / a for a, b in itertools.pairwise(steps)]
    assert max(ratios) < 1.1 * min(ratios)


# ---- real signals to a real process --------------------------------------------------------------


@pytest.fixture
def long_training(tiny_config: Config, tmp_path: Path) -> Path:
    """A configuration of a few seconds, as a file."""
    training = replace(tiny_config.training, steps=400, save_every=40, log_every=40, checkpoints=5)
    file = tmp_path / "long.toml"
    file.write_text(to_toml(replace(tiny_config, training=training)))
    return file


def start(config: Path, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "diffprobe", "train", "--config", str(config)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def whole(long_training: Path, tmp_path: Path) -> Path:
    process = start(long_training, tmp_path / "whole")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return tmp_path / "whole"


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_ends_with_the_same_bits(
    long_training: Path, whole: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    process = start(long_training, killed)
    wait_for(killed / "checkpoints" / "step-000126", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "the same command continues it" in errors.splitlines()[-1]

    process = start(long_training, killed)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same(whole, killed)
