"""How far a training goes: extensions, branches, and the loss of every step."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffprobe.cli import run as command_line
from diffprobe.config import Config, to_toml
from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.foundations.kinds import find
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.training import Branch, loop, train
from diffprobe.training.averages.ema import EMAConfig
from diffprobe.training.averages.last import LastConfig
from diffprobe.training.learning_rates.constant import ConstantConfig
from diffprobe.training.learning_rates.cosine import CosineConfig
from diffprobe.training.learning_rates.two_stage import TwoStageConfig
from diffprobe.training.learning_rates.wsd import WSDConfig
from diffprobe.training.processes import make_accelerator
from diffprobe.training.run_folder import RunFolder
from diffprobe.training.state import TrainingState
from diffprobe.training.validation import ValidationBatch


@pytest.fixture(scope="module")
def config(tiny_config: Config) -> Config:
    """One learning rate throughout, and states of steps 10 and 20 kept."""
    training = replace(tiny_config.training, keep_states=(10, 20))
    return replace(tiny_config, learning_rate=ConstantConfig(1e-3), training=training)


def with_training(config: Config, **changes: Any) -> Config:
    return replace(config, training=replace(config.training, **changes))


@pytest.fixture(scope="module")
def thirty(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 30 steps; tests must not change it."""
    return train(config, tmp_path_factory.mktemp("horizon") / "thirty", "cpu").path


@pytest.fixture(scope="module")
def fifty(config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("horizon") / "fifty"
    return train(with_training(config, steps=50), out, "cpu")


@pytest.fixture
def own(thirty: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(thirty, tmp_path / "own"))


def weights(run: RunFolder, step: int) -> dict[str, Tensor]:
    found = {}
    for file in sorted(run.checkpoint_path(step).rglob("*.safetensors")):
        folder = file.parent.name
        found |= {f"{folder}/{name}": tensor for name, tensor in load_file(file).items()}
    return found


def assert_same_weights(one: RunFolder, other: RunFolder, step: int = 50) -> None:
    a, b = weights(one, step), weights(other, step)
    assert a.keys() == b.keys()
    assert len(a) > 10
    assert all(torch.equal(a[key], b[key]) for key in a)


def lines(run: RunFolder, after: int = 0) -> list[Mapping[str, Any]]:
    """Return the metrics without what differs from day to day."""
    kept = [m for m in run.metrics() if m["step"] > after]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in kept]


class SuddenEndError(Exception):
    """Stands for any sudden end."""


def stopping_at(step: int, config: Config, out: Path, **arguments: Any) -> None:
    """Train up to a sudden end."""
    original = loop.Trainer._step

    def failing(self: loop.Trainer, at: int) -> Tensor:
        if at == step:
            raise SuddenEndError
        return original(self, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", failing)
        with pytest.raises(SuddenEndError):
            train(config, out, "cpu", **arguments)


# ---- a longer horizon ----------------------------------------------------------------------------


def test_an_extended_run_is_the_longer_run(config: Config, own: Path, fifty: RunFolder) -> None:
    run = train(with_training(config, steps=50), own, "cpu")
    assert_same_weights(run, fifty)
    assert lines(run) == lines(fifty)
    assert np.array_equal(run.losses(), fifty.losses())
    assert run.config().training.steps == 50
    assert run.steps_done() == 50
    # And once more the same command: nothing to do.
    before = run.metrics_path.stat().st_mtime_ns
    train(with_training(config, steps=50), own, "cpu")
    assert run.metrics_path.stat().st_mtime_ns == before


def test_how_often_a_run_is_looked_at_may_change(config: Config, own: Path) -> None:
    other = with_training(config, steps=40, log_every=5, checkpoints=2, keep_states=(35,))
    run = train(other, own, "cpu")
    assert [m["step"] for m in run.metrics()] == [10, 20, 30, 35, 40]
    assert sorted(run.kept_steps()) == [10, 20, 35, 40]


def test_a_cosine_cannot_be_extended(config: Config, tmp_path: Path) -> None:
    cosine = replace(with_training(config, steps=12), learning_rate=CosineConfig(1e-3, 4))
    run = train(cosine, tmp_path / "run", "cpu")
    with pytest.raises(UsageError) as error:
        train(with_training(cosine, steps=20), tmp_path / "run", "cpu")
    # The first step of the decay: an eighth, or a sixteenth, of half a turn.
    was, wanted = (1e-3 * (1 + math.cos(math.pi / left)) / 2 for left in (8, 16))
    message = str(error.value)
    assert f"at step 5 it was {was:.3g} on the way to 12 steps, and is {wanted:.3g} on" in message
    assert "--branch-from" in message
    assert run.config() == cosine
    # As far as the warm-up goes, no rate depends on how many steps there will be.
    stopping_at(4, cosine, tmp_path / "early")
    train(with_training(cosine, steps=20), tmp_path / "early", "cpu")


def test_what_is_done_cannot_be_undone(config: Config, thirty: Path) -> None:
    with pytest.raises(UsageError, match=r"30 steps are done, and training\.steps=20 asks for"):
        train(with_training(config, steps=20), thirty, "cpu")


def test_before_the_decay_a_horizon_may_move(config: Config, tmp_path: Path) -> None:
    """Rates of the steps that are done are what must agree, not the schedule as a whole."""
    stable = replace(config, learning_rate=WSDConfig(warmup_steps=3, decay=0.2))
    stopping_at(23, stable, tmp_path / "run")
    run = train(with_training(stable, steps=50), tmp_path / "run", "cpu")
    whole = train(with_training(stable, steps=50), tmp_path / "whole", "cpu")
    assert_same_weights(run, whole)
    with pytest.raises(UsageError, match="at step 40 it was"):
        train(with_training(stable, steps=60), tmp_path / "run", "cpu")


def test_another_schedule_is_another_run(config: Config, thirty: Path) -> None:
    other = replace(config, learning_rate=ConstantConfig(2e-3))
    with pytest.raises(UsageError, match=r"learning_rate\.peak: 0\.002, not 0\.001"):
        train(with_training(other, steps=50), thirty, "cpu")


# ---- branches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [10, 20, 30])
def test_a_branch_goes_on_as_the_run_would(
    step: int, config: Config, thirty: Path, fifty: RunFolder, tmp_path: Path
) -> None:
    branch = Branch.parse(f"{thirty}@{step}")
    run = train(with_training(config, steps=50), tmp_path / "branch", "cpu", branch=branch)
    assert_same_weights(run, fifty)
    assert lines(run) == lines(fifty, after=step)
    assert np.array_equal(run.losses(), fifty.losses()[step:])
    assert run.description()["branch"] == {"run": str(thirty), "step": step}


def test_a_branch_may_have_a_schedule_of_its_own(
    config: Config, thirty: Path, tmp_path: Path
) -> None:
    """Up to the branch a rate that nobody has seen; from then on as a run with that schedule."""
    later = replace(config, learning_rate=TwoStageConfig(1e-3, second=1e-4, at=20, warmup_steps=0))
    branch = Branch(thirty, 20)
    run = train(with_training(later, steps=40), tmp_path / "branch", "cpu", branch=branch)
    whole = train(with_training(later, steps=40), tmp_path / "whole", "cpu")
    assert_same_weights(run, whole, 40)
    assert run.metrics()[-1]["learning_rate"] == pytest.approx(1e-4)


def test_an_interrupted_branch_goes_on_without_the_other_run(
    config: Config, own: Path, fifty: RunFolder, tmp_path: Path
) -> None:
    branch, longer = Branch(own, 20), with_training(config, steps=50)
    stopping_at(24, longer, tmp_path / "branch", branch=branch)  # before it has saved anything
    stopping_at(37, longer, tmp_path / "branch", branch=branch)
    shutil.rmtree(own)
    run = train(longer, tmp_path / "branch", "cpu", branch=branch)
    assert_same_weights(run, fifty)
    assert np.array_equal(run.losses(), fifty.losses()[20:])
    with pytest.raises(UsageError, match=r"branch.run: None, not '.*branch.step: 0, not 20"):
        train(longer, tmp_path / "branch", "cpu")


def test_new_averages_begin_with_the_branch(config: Config, thirty: Path, tmp_path: Path) -> None:
    averages = {"ema": EMAConfig(), "late": EMAConfig(0.5, 0.0), "lawa": LastConfig(2, 5)}
    more = replace(with_training(config, steps=21, checkpoints=1), averages=averages)
    branch = Branch(thirty, 20)
    run = train(more, tmp_path / "branch", "cpu", branch=branch)
    found = weights(run, 21)
    raw = {k.removeprefix("raw/"): v for k, v in found.items() if k.startswith("raw/")}
    assert raw
    # After its first step a fresh average is the raw weights.
    for name in ("late", "lawa"):
        assert all(torch.equal(found[f"{name}/{k}"], v) for k, v in raw.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [("{run}", "is not of the form RUN@STEP"), ("{run}@last", "form"), ("@20", "form")],
)
def test_branches_that_cannot_be_read(text: str, message: str, thirty: Path) -> None:
    with pytest.raises(UsageError, match=message):
        Branch.parse(text.format(run=thirty.name))


def test_missing_states_and_runs_are_named(config: Config, thirty: Path, tmp_path: Path) -> None:
    longer, out = with_training(config, steps=50), tmp_path / "branch"
    with pytest.raises(CheckpointError, match=r"no state of step 25 \(it has: 10, 20, 30\)"):
        train(longer, out, "cpu", branch=Branch(thirty, 25))
    with pytest.raises(CheckpointError, match="is not a run folder"):
        train(longer, out, "cpu", branch=Branch(tmp_path / "nothing", 20))
    with pytest.raises(UsageError, match=r"begins at step 30, and training\.steps=30 counts"):
        train(config, out, "cpu", branch=Branch(thirty, 30))
    assert not out.exists()


def test_a_branch_from_a_damaged_state(config: Config, own: Path, tmp_path: Path) -> None:
    file = own / "states" / "step-000020.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    (own / "states" / "step-notes.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"step-000020.safetensors is damaged"):
        train(with_training(config, steps=50), tmp_path / "b", "cpu", branch=Branch(own, 20))
    (own / "state.safetensors").write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged"):
        train(with_training(config, steps=50), tmp_path / "b", "cpu", branch=Branch(own, 20))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"optimizer": find("optimizer", "sgd")()},
            "has what AdamW remembers, of which SGD can make nothing",
        ),
        ({"network": MLPConfig(width=16)}, "a branch needs the same network"),
        ({"averages": {"ema": LastConfig()}}, "under one name the same kind of average"),
    ],
)
def test_a_branch_of_another_kind(
    change: dict[str, Any], message: str, config: Config, thirty: Path, tmp_path: Path
) -> None:
    other = replace(with_training(config, steps=50), **change)
    with pytest.raises(CheckpointError, match=message):
        train(other, tmp_path / "branch", "cpu", branch=Branch(thirty, 20))


def test_branching_from_the_command_line(
    config: Config,
    thirty: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(to_toml(config))
    train_it = ["train", "--config", "c.toml", "--out", "branch", "--device", "cpu"]
    assert command_line([*train_it, "--branch-from", f"{thirty}@20", "--steps", "25"]) == 0
    assert len(RunFolder(Path("branch")).losses()) == 5
    assert "going on" not in capsys.readouterr().err
    more = ["--branch-from", f"{thirty}@20", "--steps", "27"]
    assert command_line([*train_it, *more]) == 0
    assert "going on from step 25\n" in capsys.readouterr().err
    assert command_line([*train_it, "--branch-from", str(thirty), "--steps", "25"]) == 2
    assert "is not of the form RUN@STEP" in capsys.readouterr().err
    other = ["--out", "other", "--branch-from", f"{thirty}@21", "--steps", "25"]
    assert command_line([*train_it, *other]) == 2
    assert "(it has: 10, 20, 30)" in capsys.readouterr().err


# ---- the loss of every step ----------------------------------------------------------------------


def test_every_step_has_its_loss(thirty: Path) -> None:
    run = RunFolder(thirty)
    losses = run.losses()
    assert losses.shape == (30,)
    assert losses.dtype == np.dtype("<f4")
    assert run.losses_path.stat().st_size == 30 * 4
    told = [m["loss"] for m in run.metrics()]
    assert losses.reshape(3, 10).mean(1) == pytest.approx(told, rel=1e-5)


def test_losses_survive_a_kill(config: Config, thirty: Path, tmp_path: Path) -> None:
    stopping_at(17, config, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    # As a kill between the losses and the state leaves it.
    run.append_losses([9.0, 9.0, 9.0])
    train(config, tmp_path / "run", "cpu")
    assert np.array_equal(run.losses(), RunFolder(thirty).losses())


def test_losses_that_never_reached_the_disk_are_not_numbers(config: Config, own: Path) -> None:
    run = RunFolder(own)
    run.losses_path.write_bytes(run.losses_path.read_bytes()[: 4 * 27 + 2])
    train(with_training(config, steps=40), own, "cpu")
    losses = run.losses()
    assert losses.shape == (40,)
    assert np.isnan(losses).nonzero()[0].tolist() == [27, 28, 29]


@pytest.mark.parametrize("call", range(1, 8))
def test_whenever_a_state_cannot_be_written_nothing_is_missed(
    call: int, config: Config, thirty: Path, tmp_path: Path
) -> None:
    """States are saved at 1, 5, 10, 10 (kept), 20 (kept), 20 and 30."""
    original, calls = TrainingState.save, []

    def failing(self: TrainingState, folder: Path) -> None:
        calls.append(folder)
        if len(calls) == call:
            raise SuddenEndError
        original(self, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "save", failing)
        with pytest.raises(SuddenEndError):
            train(config, tmp_path / "run", "cpu")
    run = train(config, tmp_path / "run", "cpu")
    whole = RunFolder(thirty)
    for step in (1, 5, 30):
        assert_same_weights(run, whole, step)
    assert set(whole.kept_steps()) - set(run.kept_steps()) <= {30}
    assert np.array_equal(run.losses(), whole.losses())
    assert lines(run) == lines(whole)


# ---- the validation loss by noise level ----------------------------------------------------------


@pytest.mark.parametrize(("size", "levels"), [(32, 8), (30, 7), (3, 8), (5, 1)])
def test_levels_average_to_the_whole(size: int, levels: int, config: Config) -> None:
    settings = replace(config.training, validation_size=size, validation_levels=levels)
    trainer = loop.Trainer(replace(config, training=settings), make_accelerator("cpu", "no"))
    validation = ValidationBatch(
        trainer.dataset, trainer.stream, settings, trainer.objective, torch.device("cpu")
    )
    found = validation.measure(trainer.state.network)
    sizes = np.array([len(part) for part in np.array_split(np.arange(size), min(levels, size))])
    assert len(found.by_level) == len(sizes)
    assert found.loss == pytest.approx((np.array(found.by_level) * sizes).sum() / size, rel=1e-5)
    # Each part is the error of its own images.
    last = slice(size - int(sizes[-1]), size)
    wanted, target = trainer.objective.predicted(
        trainer.state.network, validation.x_0[last], validation.t[last], validation.eps[last]
    )
    error = (wanted - target).square().mean().item()
    assert found.by_level[-1] == pytest.approx(error, rel=1e-5)
    assert (validation.t.diff() > 0).all()  # least noise first


def test_the_metrics_tell_each_level(thirty: Path) -> None:
    line = json.loads((thirty / "metrics.jsonl").read_text().splitlines()[-1])
    by_level = line["validation_loss_by_level"]
    assert set(by_level) == {"raw", "ema"}
    assert np.mean(by_level["raw"]) == pytest.approx(line["validation_loss"], rel=1e-5)
    assert np.mean(by_level["ema"]) == pytest.approx(line["validation_loss_ema"], rel=1e-5)
