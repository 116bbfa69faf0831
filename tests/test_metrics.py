"""Lines of metrics, whole and damaged."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from diffprobe.config import Config
from diffprobe.foundations.errors import NonFiniteLossError
from diffprobe.training import RunFolder, loop, metrics, train

LINES = [{"step": step, "loss": 1 / step, "name": "ü"} for step in (10, 20, 30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b"".join(map(metrics.encode, LINES)))
    return file


@given(st.integers(0, len(metrics.encode(LINES[1])) - 2), st.integers(0, 7))
def test_any_flipped_bit_is_found(place: int, bit: int) -> None:
    """But for one that changes nothing: a letter may be in capitals in an escape."""
    line = bytearray(metrics.encode(LINES[1]))
    line[place] ^= 1 << bit
    assert metrics.decode(bytes(line)) in (None, LINES[1])
    assert place in (40, 41) or metrics.decode(bytes(line)) is None


@pytest.mark.parametrize(
    "second",
    [b"5", b"", b"[]", b"null", b'{"step": null}', b"\xff\xfe", b'{"step": 20}', b"[" * 5000],
)
def test_a_damaged_line_is_left_out_and_named(
    second: bytes, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, _, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join((first, second, third, b"")))
    with caplog.at_level(logging.WARNING, "diffprobe"):
        assert metrics.read(path) == [LINES[0], LINES[2]]
    assert f"{path} is damaged: line 2 is left out" in caplog.text


def test_a_line_that_a_kill_cut_short_needs_no_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes()[:-9])
    assert metrics.read(path) == LINES[:2]
    path.write_bytes(b"")
    assert metrics.read(path) == []
    assert not caplog.text


def test_training_goes_on_beside_damaged_metrics_and_losses(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == 25:
            raise KeyboardInterrupt
        return original(self, at)

    original = loop.Trainer._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config, tmp_path / "run", "cpu")
    run = RunFolder(tmp_path / "run")
    run.metrics_path.write_bytes(b"5\n" + run.metrics_path.read_bytes())
    run.losses_path.write_bytes(run.losses_path.read_bytes()[:-6])
    with caplog.at_level(logging.WARNING, "diffprobe"):
        train(tiny_config, run.path, "cpu")
    assert "metrics.jsonl is damaged: line 1 is left out" in caplog.text
    assert "losses.f32 lacks the losses of the last 2 of 20 steps" in caplog.text
    assert [m["step"] for m in run.metrics()] == [10, 20, 30]
    assert run.metrics()[-1]["loss"] == RunFolder(tiny_run).metrics()[-1]["loss"]


@given(place=st.integers(0, 30 * 4 - 1), bit=st.integers(0, 7))
@example(place=3, bit=6)  # makes a NaN of a loss between 1 and 2
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_a_loss_is_found(
    place: int, bit: int, tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run", dirs_exist_ok=True)))
    before, content = run.losses(), bytearray(run.losses_path.read_bytes())
    content[place] ^= 1 << bit
    run.losses_path.write_bytes(content)
    caplog.clear()
    first = place // 40 * 10
    left_out = [first + i for i in range(10)]
    for _ in range(2):  # as it is found, and as a training that goes on leaves it
        found = run.losses()
        assert np.isnan(found).nonzero()[0].tolist() == left_out
        assert np.array_equal(np.delete(found, left_out), np.delete(before, left_out))
        run.forget_after(30)
    (message, *_) = caplog.messages
    told = f"the losses of steps {first + 1} to {first + 10} are left out"
    assert message == f"{run.losses_path} is damaged: {told}"
    assert len(caplog.messages) == 2  # what is not a number is known by then


def break_average(trainer: loop.Trainer) -> None:
    next(iter(trainer.state.averages["ema"].weights())).fill_(float("inf"))


def break_weights(trainer: loop.Trainer) -> None:
    with torch.no_grad():
        next(iter(trainer.state.network.parameters())).fill_(float("nan"))


@pytest.mark.parametrize("harm", [break_average, break_weights])
@pytest.mark.parametrize("step", [10, 15])
def test_weights_that_are_not_finite_are_never_stored(
    harm: Callable[[loop.Trainer], None], step: int, tiny_config: Config, tmp_path: Path
) -> None:
    """Though the loss of the step is: at a line of metrics, and where only the state is saved."""

    def poisoned(self: loop.Trainer, at: int) -> torch.Tensor:
        loss = original(self, at)
        if at == step - 1:
            harm(self)
        return loss

    original = loop.Trainer._step
    config = replace(tiny_config, training=replace(tiny_config.training, save_every=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", poisoned)
        with pytest.raises(NonFiniteLossError, match=f"the weights after step {step} are not"):
            train(config, tmp_path / "run", "cpu")
    run = RunFolder(tmp_path / "run")
    assert run.steps_done() == step - 5
    assert train(config, run.path, "cpu").steps_done() == 30  # and it goes on


def test_a_damaged_state_gives_way_to_one_that_was_kept(
    tiny_config: Config, tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = replace(tiny_config.training, keep_states=(10, 15))
    config = replace(tiny_config, training=replace(training, steps=20))
    constant = resolve_constant(config)
    run = train(constant, tmp_path / "run", "cpu")
    content = bytearray(run.state_path.read_bytes())
    content[-1] ^= 1
    run.state_path.write_bytes(content)
    longer = replace(constant, training=replace(training, steps=30))
    with caplog.at_level(logging.WARNING, "diffprobe"):
        train(longer, run.path, "cpu")
    assert "training goes on from" in caplog.text
    assert "step-000015.safetensors" in caplog.text
    whole = train(longer, tmp_path / "whole", "cpu")
    assert run.metrics()[-1]["validation_loss"] == whole.metrics()[-1]["validation_loss"]


def resolve_constant(config: Config) -> Config:
    from diffprobe.training.learning_rates.constant import ConstantConfig

    return replace(config, learning_rate=ConstantConfig())
