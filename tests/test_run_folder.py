import json
import os
from pathlib import Path

import pytest
import torch

from diffprobe.config import Config
from diffprobe.foundations.errors import CheckpointError
from diffprobe.training.run_folder import RunFolder, run_of_checkpoint


@pytest.fixture
def run(tmp_path: Path, tiny_config: Config) -> RunFolder:
    return RunFolder.open(tmp_path / "run", tiny_config, torch.device("cpu"))


def test_the_configuration_comes_back(run: RunFolder, tiny_config: Config) -> None:
    assert run.config() == tiny_config


def test_metrics_cut_short_by_a_kill_are_read_up_to_the_cut(run: RunFolder) -> None:
    for step in (10, 20, 30):
        run.append_metrics({"step": step, "loss": 1.0})
    text = run.metrics_path.read_text()
    run.metrics_path.write_text(text[:-9])
    assert [m["step"] for m in run.metrics()] == [10, 20]
    run.forget_after(10)
    assert [m["step"] for m in run.metrics()] == [10]
    assert run.metrics_path.read_text().count("\n") == 1


def test_leftovers_are_swept_when_the_run_is_opened_again(
    run: RunFolder, tiny_config: Config
) -> None:
    leftover = run.path / "checkpoints" / ".partial-step-000010"
    leftover.mkdir(parents=True)
    os.utime(leftover, (0, 0))
    RunFolder.open(run.path, tiny_config, torch.device("cpu"))
    assert not leftover.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_damaged_configurations_are_named(run: RunFolder, content: str) -> None:
    (run.path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json is"):
        run.config()


def test_a_checkpoint_knows_its_run(tiny_run: Path, tmp_path: Path) -> None:
    for path in (tiny_run, tiny_run / "checkpoints" / "step-000030"):
        found = run_of_checkpoint(path)
        assert found is not None
        assert found.path.resolve() == tiny_run.resolve()
    assert run_of_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"is not a run folder: no config.json"):
        RunFolder(tmp_path).description()
    assert json.loads((tiny_run / "config.json").read_text())["seed"] == 0


def test_metrics_are_a_frame_and_a_notebook_shows_the_last(tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    frame = run.to_frame()
    assert frame["step"].tolist() == [m["step"] for m in run.metrics()]
    assert frame["validation_loss_ema"].tolist() == [
        m["validation_loss_ema"] for m in run.metrics()
    ]
    assert all(type(v) in (int, float) for row in run.rows() for v in row.values())
    shown = run._repr_html_()
    assert f"<caption>{tiny_run}: its last metrics</caption>" in shown
    assert f"<td>{frame['step'].iloc[-1]}</td>" in shown
