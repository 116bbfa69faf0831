"""Trackers are told what a training's records say, and change nothing of it."""

import dataclasses
import io
import json
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

import accelerate.tracking
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import LoggerType
from conftest import TINY
from PIL import Image
from safetensors.torch import load_file

from diffprobe.cli import run as run_command
from diffprobe.config import Config
from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import silent
from diffprobe.models import load_denoiser
from diffprobe.resolution import resolve
from diffprobe.sampling import sample
from diffprobe.sampling.samples import as_pictures
from diffprobe.studies.cells import Cell
from diffprobe.tracking import check_trackers
from diffprobe.tracking import train as train_now
from diffprobe.tracking.looks import SHOWN, Looks, picture
from diffprobe.tracking.trackers import PATIENCE, Trackers
from diffprobe.training import RunFolder, train_replicas

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CONSTANT = [*TINY, "learning_rate.name=constant"]
TOLD = ["training.log_with=['tensorboard']", "training.probe_every=10"]


def in_a_new_second() -> None:
    """Wait: event files of the same second are read by name, the tenth before the ninth."""
    time.sleep(1.01 - time.time() % 1)


def train(*given: Any) -> RunFolder:
    in_a_new_second()
    return train_now(*given)


def told_by(run: RunFolder) -> Any:
    """Return what TensorBoard reads of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "logs" / "diffprobe"))
    return events.Reload()


def scalars(events: Any) -> dict[str, dict[int, float]]:
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Twenty steps, and then ten more, told to TensorBoard."""
    out = tmp_path_factory.mktemp("followed") / "run"
    for steps in (20, 30):
        train(resolve(assignments=[*CONSTANT, *TOLD, f"training.steps={steps}"]), out, "cpu")
    return RunFolder(out)


def test_losses_and_learning_rate_are_those_of_the_metrics(followed: RunFolder) -> None:
    told = scalars(told_by(followed))
    lines = followed.metrics()
    assert [line["step"] for line in lines] == [10, 20, 30]
    for name in ("loss", "validation_loss", "validation_loss_ema", "learning_rate"):
        assert told[name] == pytest.approx({line["step"]: line[name] for line in lines})


def test_rates_are_those_of_samples_of_the_checkpoint(followed: RunFolder) -> None:
    events, config = told_by(followed), followed.config()
    told, steps = scalars(events), followed.checkpoint_steps()
    assert list(told["legible"]) == steps
    dataset = config.dataset()
    sampling = dataclasses.replace(config.sampling, n=config.probe.along_samples)
    denoiser = load_denoiser(followed.checkpoint_path(30), config.weights)
    verdicts = judge(dataset, sample(denoiser, dataset.image_shape, config.sampler, sampling))
    assert told["legible"][30] == pytest.approx(verdicts.legible_rate.value)
    assert told["grammatical_by_chance"][30] == pytest.approx(dataset.grammar.product_rate())
    shown = events.Images("samples")
    assert [image.step for image in shown] == steps
    assert min(shown[-1].width, shown[-1].height) > 100


def test_samples_are_drawn_on_the_condition_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = ["condition.name='word'", "sampling.condition='all'", TOLD[0], "training.steps=4"]
    run = train(resolve(assignments=[*CONSTANT, *told]), tmp_path / "run", "cpu")
    events, config = told_by(run), run.config()
    steps = run.checkpoint_steps()
    assert [event.step for event in events.Scalars("legible")] == steps
    assert not caplog.messages
    dataset = config.dataset()
    drawn = sample(
        load_denoiser(run.checkpoint_path(steps[-1]), config.weights),
        dataset.image_shape,
        config.sampler,
        dataclasses.replace(config.sampling, n=config.probe.along_samples),
        silent,
        dataset=dataset,
        conditions=config.condition.build(dataset.grammar),
    )
    shown = Image.open(io.BytesIO(events.Images("samples")[-1].encoded_image_string))
    expected = picture(as_pictures(drawn, dataset).images[:SHOWN])[0]
    assert np.array_equal(np.asarray(shown), expected)


def test_ldr_stands_beside_the_optimum(followed: RunFolder) -> None:
    told = scalars(told_by(followed))
    assert list(told["ldr"]) == [10, 20, 30]
    for step, ldr in told["ldr"].items():
        assert 0 < told["bayes_ldr"][step] < ldr <= 1
        assert told["excess_ldr"][step] == pytest.approx(ldr - told["bayes_ldr"][step], abs=1e-6)
    assert len(set(told["bayes_ldr"].values())) == 1


def test_a_run_goes_on_in_the_same_run(followed: RunFolder) -> None:
    logs = followed.path / "logs"
    name = (logs / "name").read_text().strip()
    assert name.startswith("run-")
    assert len(list(logs.rglob("hparams.yml"))) == 1
    told = scalars(told_by(followed))
    assert list(told["loss"]) == [10, 20, 30]


def test_what_is_told_of_steps_taken_back_is_told_again(
    tiny_config: Config, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    with Trackers(["tensorboard"], run, tiny_config, 0) as trackers:
        for step in (10, 20, 30):
            trackers.log({"loss": 1.0}, step)
        trackers.told = 20
    in_a_new_second()
    with Trackers(["tensorboard"], run, tiny_config, 20) as trackers:
        trackers.log({"loss": 2.0}, 30)
    assert scalars(told_by(run))["loss"] == {10: 1.0, 20: 1.0, 30: 2.0}


class KillError(BaseException):
    """Comes while a step is looked at, its state saved."""


def test_a_step_that_a_kill_left_half_told_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locality = Looks.locality

    def killed(looks: Looks) -> dict[str, float]:
        if looks.state.step == 20:
            raise KillError
        return locality(looks)

    config = resolve(assignments=[*TINY, *TOLD])
    with monkeypatch.context() as patch:
        patch.setattr(Looks, "locality", killed)
        with pytest.raises(KillError):
            train(config, tmp_path / "run", "cpu")
    run = train(config, tmp_path / "run", "cpu")
    told = told_by(run)
    steps = {name: [event.step for event in told.Scalars(name)] for name in ("loss", "ldr")}
    assert steps == {"loss": [10, 20, 30], "ldr": [10, 20, 30]}
    assert [image.step for image in told.Images("samples")] == run.checkpoint_steps()


def test_weights_are_the_same_bits_without(followed: RunFolder, tmp_path: Path) -> None:
    config = resolve(assignments=CONSTANT)
    alone = train(config, tmp_path / "alone", "cpu")
    ours, theirs = (load_file(run.state_path) for run in (followed, alone))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not (alone.path / "logs").exists()
    # Neither is another run: nothing is trained again.
    before = followed.metrics_path.stat().st_mtime
    assert train(config, followed.path, "cpu").metrics_path.stat().st_mtime == before


def test_a_study_finds_a_run_however_it_was_followed() -> None:
    def cell(*more: str) -> Cell:
        from diffprobe.foundations.settings import to_settings

        return Cell(1, {}, 0, to_settings(resolve(assignments=[*TINY, *more])), ("samples",), False)

    assert cell().address == cell(*TOLD).address
    assert cell().key == cell(*TOLD).key
    assert cell().address != cell("training.log_every=5").address


@pytest.mark.skipif("trackio" not in LoggerType.list(), reason="accelerate has none before 1.9")
def test_trackio_keeps_to_its_folder(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    run = RunFolder(tmp_path / "run")
    for step in (0, 10):
        with Trackers(["trackio"], run, tiny_config, step) as trackers:
            trackers.log({"loss": 1.0 + step}, step + 10)
            trackers.log_images({"samples": picture(torch.zeros(2, 1, 4, 4))}, step + 10)
    with sqlite3.connect(tmp_path / "trackio" / "diffprobe.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
        (settings,) = database.execute("select config from configs").fetchall()
    database.close()
    name = (run.path / "logs" / "name").read_text().strip()
    assert [(who, step, json.loads(told)) for who, step, told in rows] == [
        (name, 10, {"loss": 1.0}),
        (name, 20, {"loss": 11.0}),
    ]
    assert json.loads(settings[0])["grammar.length"] == 4


@pytest.mark.filterwarnings("ignore:`log_with=.*`:UserWarning")
@pytest.mark.parametrize("asked", [None, "elsewhere"])
def test_wandb_is_told_to_write_beside_the_run(
    asked: str | None, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def begin(self: Accelerator, *given: Any) -> None:
        told.append(given[-1])

    monkeypatch.setattr(Accelerator, "init_trackers", begin)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    if asked:
        monkeypatch.setenv("WANDB_DIR", asked)
    with Trackers(["wandb"], RunFolder(tmp_path), tiny_config, 0):
        pass
    assert told[0]["wandb"]["dir"] == (asked or str(tmp_path / "logs"))


@pytest.mark.parametrize(("where", "warnings"), [("start", 1), ("log", 2)])
def test_a_tracker_that_fails_is_left_out(
    where: str,
    warnings: int,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def fail(*given: Any, **options: Any) -> None:
        calls.append(given)
        raise OSError("no space left")

    tracker = accelerate.tracking.TensorBoardTracker
    # Of accelerate before 1.10 a tracker starts when it is made.
    method = where if hasattr(tracker, where) else "__init__"
    monkeypatch.setattr(tracker, method, fail)
    with (
        caplog.at_level(logging.WARNING, "diffprobe"),
        Trackers(["tensorboard"], RunFolder(tmp_path), tiny_config, 0) as trackers,
    ):
        for step in range(10):
            trackers.log({"loss": 1.0}, step)
    assert len(calls) == (1 if where == "start" else PATIENCE)
    assert caplog.messages[0] == "tensorboard was not told: no space left; training goes on"
    assert len(caplog.messages) == warnings


def test_unknown_and_missing_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord': did you mean 'tensorboa"):
        check_trackers(["tensorbord"])
    assert check_trackers(["tensorboard", "tensorboard"]) == ["tensorboard"]
    monkeypatch.setattr("diffprobe.tracking.trackers.get_available_trackers", list)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[tensorboard\]'"):
        check_trackers(["tensorboard"])
    with pytest.raises(UsageError, match="not installed: pip install wandb"):
        check_trackers(["wandb"])


def test_the_command_line_refuses_what_cannot_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_demo = ["train", "--preset", "demo", "--out", str(tmp_path / "run")]
    assert run_command([*train_demo, "--log-with", "tensorbord"]) == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err
    assert run_command([*train_demo, "--set", "training.probe_every=5"]) == 2
    assert "none is named: --log-with" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_replicas_have_no_trackers(tmp_path: Path) -> None:
    config = resolve(assignments=[*TINY, *TOLD])
    with pytest.raises(UsageError, match=r"training\.log_with names tensorboard"):
        train_replicas([config], [tmp_path / "run"], "cpu")


def test_a_picture_shows_images_row_by_row() -> None:
    images = -torch.ones(3, 1, 4, 6)
    images[1] = 1
    (sheet,) = picture(images)
    found = Image.fromarray(sheet)
    assert found.width >= 600
    scale = found.width // 16
    assert found.size == (16 * scale, 12 * scale)  # two and one, of 4×6 and a pixel around
    centres = {(4, 3): 255, (12, 3): 0, (4, 9): 255, (12, 9): 204, (0, 0): 204}
    for (x, y), shade in centres.items():
        place = (int((x + 0.5) * scale), int((y + 0.5) * scale))
        assert found.getpixel(place) == (shade,) * 3
