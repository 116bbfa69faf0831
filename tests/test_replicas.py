import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffprobe.cli import run
from diffprobe.config import Config, to_toml
from diffprobe.foundations.errors import (
    InterruptedRunError,
    InUseError,
    NonFiniteLossError,
    UsageError,
)
from diffprobe.models.modules.mlp import MLP
from diffprobe.models.networks import NetworkKind
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.models.networks.residual_mlp import ResidualMLPConfig
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.resolution import resolve
from diffprobe.training import RunFolder, replica_configs, replica_path, train, train_replicas
from diffprobe.training.loop import Trainer
from diffprobe.training.state import TrainingState


@pytest.fixture(scope="session")
def small(tiny_config: Config) -> Config:
    """Three seeds of a two-layer network."""
    training = replace(tiny_config.training, replicas=3, batch_size=8)
    return replace(tiny_config, network=MLPConfig(width=16), training=training)


@pytest.fixture(scope="session")
def whole(small: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `small`, trained at once without an interruption; tests must not change them."""
    out = tmp_path_factory.mktemp("replicas")
    train_all(small, out)
    return out


def train_all(config: Config, out: Path) -> list[RunFolder]:
    configs = replica_configs(config)
    return train_replicas(configs, [replica_path(out, each) for each in configs], "cpu", False)


def weights(path: Path) -> dict[str, Tensor]:
    files = sorted(path.glob("checkpoints/*/*/*.safetensors"))
    return {f"{f.relative_to(path)}:{k}": v for f in files for k, v in load_file(f).items()}


def metrics(path: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in RunFolder(path).metrics()]


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert len(a) > 0
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert metrics(one) == metrics(other)
    assert RunFolder(one).losses().tolist() == RunFolder(other).losses().tolist()


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        (MLPConfig(width=16), ["optimizer.name=adafactor", "averages={}"]),
        (ResidualMLPConfig(width=8, depth=2), ["averages.last.n=2", "averages.last.every=4"]),
        (TransformerConfig(width=16, depth=1, heads=2), ["training.gradient_clip=0.05"]),
        (MLPConfig(width=16), ["training.mixed_precision=bf16"]),
    ],
    ids=["other optimizer", "other average", "attention, all clipped", "bf16"],
)
def test_each_replica_is_its_solo_run(
    network: NetworkKind, changes: list[str], small: Config, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    training = replace(small.training, replicas=2, steps=12, checkpoints=2)
    file.write_text(to_toml(replace(small, network=network, training=training)))
    config = resolve(file=file, assignments=changes)
    rough = config.training.mixed_precision != "no"
    tolerance = {"atol": 2e-3, "rtol": 2e-2} if rough else {"atol": 1e-5, "rtol": 1e-4}
    runs = train_all(config, tmp_path / "together")
    for each, ours in zip(replica_configs(config), runs, strict=True):
        alone = train(each, tmp_path / f"alone-{each.training.seed}", "cpu", False)
        a, b = weights(ours.path), weights(alone.path)
        assert a.keys() == b.keys()
        assert all(torch.allclose(a[k], b[k], **tolerance) for k in a)
        assert ours.losses() == pytest.approx(alone.losses(), rel=1e-2 if rough else 1e-5)
        assert [m["step"] for m in ours.metrics()] == [m["step"] for m in alone.metrics()]
        found, wanted = ours.metrics()[-1], alone.metrics()[-1]
        assert found["validation_loss"] == pytest.approx(wanted["validation_loss"], rel=1e-2)
        assert ours.config() == alone.config() == each
    first, second = runs
    assert abs(first.losses() - second.losses()).max() > 0.01


def test_a_replica_is_an_ordinary_run(small: Config, whole: Path, tmp_path: Path) -> None:
    configs = replica_configs(small)
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    for config in configs:
        train(config, replica_path(whole, config), "cpu")
    train_all(small, whole)
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before
    assert RunFolder(whole / "seed-1").description()["replicas"] == 3
    state = load_file(whole / "seed-1" / "state.safetensors")
    alone = load_file(train(configs[1], tmp_path / "alone", "cpu").state_path)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in alone.items()}
    assert all(torch.allclose(state[k], alone[k], atol=1e-5) for k in state)


def test_after_a_sudden_end_the_same_call_ends_with_the_same_bits(
    small: Config, whole: Path, tmp_path: Path
) -> None:
    original = TrainingState.save

    def failing(self: TrainingState, file: Path) -> None:
        if self.step == 20 and "seed-1" in str(file):
            raise KeyboardInterrupt
        original(self, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "save", failing)
        with pytest.raises(KeyboardInterrupt):
            train_all(small, tmp_path)
    runs = [RunFolder(tmp_path / f"seed-{k}") for k in range(3)]
    assert [each.steps_done() for each in runs] == [20, 10, 10]
    train_all(small, tmp_path)
    for each in runs:
        assert_same(each.path, whole / each.path.name)


def test_sigterm_saves_all_at_one_step(
    small: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.draw

    def stopping(self: Trainer, step: int) -> tuple:
        if step == 13 and self.config.training.seed == 1:
            signal.raise_signal(signal.SIGTERM)
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "draw", stopping)
        with pytest.raises(InterruptedRunError, match="stopped at step 14 of 30; all 3") as stop:
            train_all(small, tmp_path)
    assert stop.value.exit_code == 143
    assert [RunFolder(tmp_path / f"seed-{k}").steps_done() for k in range(3)] == [14] * 3
    for each in train_all(small, tmp_path):
        assert_same(each.path, whole / each.path.name)


def test_a_replica_that_is_not_finite_stops_and_the_others_go_on(
    small: Config,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = Trainer.draw

    def poisoned(self: Trainer, step: int) -> tuple:
        drawn, *rest = original(self, step)
        bad = step == 13 and self.config.training.seed == 1
        return ([drawn[0] * math.nan, *drawn[1:]] if bad else drawn, *rest)

    monkeypatch.setattr(Trainer, "draw", poisoned)
    message = r"1 of 3 replicas stopped, first .*seed-1: the loss of step 14 is nan"
    with pytest.raises(NonFiniteLossError, match=message) as error:
        train_all(small, tmp_path)
    assert error.value.step == 14
    assert "seed-1: the loss of step 14 is nan" in caplog.text
    assert RunFolder(tmp_path / "seed-1").steps_done() == 10
    for k in (0, 2):
        assert_same(tmp_path / f"seed-{k}", whole / f"seed-{k}")


def test_each_folder_has_one_writer(small: Config, tmp_path: Path) -> None:
    last = RunFolder(tmp_path / "seed-2")
    with last.written(), pytest.raises(InUseError, match="seed-2 is being written"):
        train_all(small, tmp_path)


def test_a_network_that_looks_at_its_values_is_refused(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MLP.forward

    def looking(self: MLP, sample: Tensor, timestep: Tensor) -> Any:
        return original(self, sample if sample.sum().item() > 0 else -sample, timestep)

    monkeypatch.setattr(MLP, "forward", looking)
    with pytest.raises(UsageError, match="'mlp' cannot be trained as replicas"):
        train_all(small, tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_stacked_is_refused(small: Config, tmp_path: Path) -> None:
    one, *_ = configs = replica_configs(small)
    outs = [tmp_path / str(k) for k in range(3)]
    other = replace(one, training=replace(one.training, batch_size=9))
    penalty = resolve(assignments=["objective.from_product=0.1"]).objective
    for given, places, message in (
        (configs, outs[:2], "a run folder each.* 3 configurations and 2 folders"),
        ([], [], "at least one"),
        (configs, [outs[0]] * 3, "the same run folder"),
        ([one, other], outs[:2], "differ in training.seed only.* training.batch_size: 8, not 9"),
        ([replace(c, objective=penalty) for c in configs], outs, "with a penalty"),
        ([small], outs[:1], "training.replicas=3 makes 3 runs, and one is asked for"),
    ):
        with pytest.raises(UsageError, match=message):
            train_replicas(given, places, "cpu")
    assert not any(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"training\.replicas=3 makes 3 runs"):
        train(small, tmp_path / "run", "cpu")


def test_the_command_trains_seeds_into_folders_of_their_own(
    small: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "small.toml", tmp_path / "x"
    training = replace(small.training, replicas=1, steps=4, seed=5)
    file.write_text(to_toml(replace(small, training=training)))
    common = ["train", "--config", str(file), "--replicas", "2", "--device", "cpu", "--out"]
    assert run([*common, str(out), "--dry-run"]) == 0
    assert f"# run folder: {out}/seed-6" in capsys.readouterr().out
    assert not out.exists()
    assert run([*common, str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"]
    assert [(each["run"], each["step"]) for each in told] == [
        (f"{out}/seed-5", 4),
        (f"{out}/seed-6", 4),
    ]
    assert run([*common, str(out)]) == 0
    assert f"{out}/seed-6: finished on " in capsys.readouterr().out
    assert run([*common, f"{out}/seed-5"]) == 2
    assert "is the run folder of one training" in capsys.readouterr().err
    assert run([*common, str(out), "--branch-from", f"{out}/seed-5@4"]) == 2
    message = "--branch-from starts one run, and training.replicas=2 makes 2"
    assert message in capsys.readouterr().err
