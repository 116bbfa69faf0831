"""Input that once ended in a traceback, or went through and did harm."""

import contextlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipelines import build_pixels

from diffprobe.cli import run
from diffprobe.config import Config, ProbeConfig, SamplingConfig, TrainingConfig, to_toml
from diffprobe.foundations.errors import CheckpointError, NotFoundError, UsageError
from diffprobe.foundations.records import read_record, write_record
from diffprobe.models import find_checkpoint, load_denoiser
from diffprobe.resolution import resolve
from diffprobe.sampling import load_samples
from diffprobe.training import RunFolder

# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("grammar.name=[1]", "grammar.name must be of type str, not [1]"),
        ("grammar.length=65536", "grammar: length must be at most 4,096, not 65,536"),
        ("optimizer.weight_decay=-1", "optimizer: weight_decay must not be negative"),
        ("learning_rate.peak=nan", "learning_rate.peak must be a finite number, not nan"),
        ("learning_rate.peak=-inf", "learning_rate.peak must be a finite number"),
        ("learning_rate.peak=1e308", "learning_rate: peak must be positive and at most 1e+06"),
        ("noise.timesteps=0", "noise.timesteps must be a positive integer"),
        ("noise.timesteps=100000000", "noise.timesteps must be at most 1,000,000"),
        ("noise.beta_end=2", "must rise within (0, 1), not 0.0001 and 2"),
        ("network.width=-1", "network: width must be a positive integer, not -1"),
        ("network.width=10000000000", "network: width must be at most 2,147,483,647"),
        ("network.patch=[0, 8]", "patch_height must be a positive integer, not 0"),
        ("network.patch=[3, 3]", "a patch of 3×3 pixels does not divide an image of 8×48"),
        ("training.seed=99999999999999999999", "training.seed must be an integer of 64 bits"),
        ("training.seed=" + "9" * 5000, "training.seed must be of type int, not '999"),
        ("training.steps=10000000000", "training.steps must be at most"),
        ("training.checkpoints=1000000000", "training.checkpoints must be at most 10,000"),
        ("training.keep_states=[-1]", "training.keep_states[0] must be a positive integer"),
        ("sampling.n=0", "sampling.n must be a positive integer, not 0"),
        ("sampling.batch_size=-1", "sampling.batch_size must be a positive integer"),
        ("probe.images=1", "probe.images must be at least 2, not 1"),
        ("probe.level=-2", "probe.level must be at least -1"),
        ("probe.baseline_images=1", "must be at least 2 (0 for no baselines), not 1"),
        ('images.font="a\\u0000b"', "images.font must not hold a NUL character"),
        ("images.cell=[9999, 9999]", "pixels are too large"),
        ("images.variants=99999", "variants must be from 1 to 10,000"),
        ("averages.raw.name=ema", "an average cannot be called 'raw'"),
        ("averages.'../x'.name=ema", "is not of the form section.key=value"),
        ("stream.name=" + "[" * 3000, "is nested too deeply"),
        (".".join("a" * 99) + "=1", "is not of the form section.key=value"),
        ("objective.by_cell=true", "set network.levels_by_cell = true"),
        ("optimizer={name = 'sgd', momentum = -1.0}", "is not of the form"),
    ],
)
def test_a_setting_is_refused_when_it_is_read(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(preset="demo", assignments=[assignment])
    assert message in str(error.value)
    assert len(str(error.value)) < 400


def test_settings_made_in_python_are_checked_too() -> None:
    for make in (
        lambda: TrainingConfig(steps=-1),
        lambda: TrainingConfig(seed=2**63),
        lambda: SamplingConfig(steps=0),
        lambda: ProbeConfig(levels=0),
        lambda: Config().with_seed(2**64),
    ):
        with pytest.raises(UsageError):
            make()


@pytest.mark.parametrize(
    "more",
    [
        ["--set", "sampling.steps=2000"],
        ["--set", "probe.level=1000"],
        ["--set", "sampling.weights=emma"],
        ["--set", "optimizer.name=sgd", "--set", "optimizer.momentum=-1.0"],
        ["--set", "learning_rate.name=csv", "--set", "learning_rate.rates='lr\\n0.1'"],
        ["--device", "warp"],
        ["--branch-from", "nowhere@3"],
        ["--seed", "99999999999999999999"],
    ],
)
def test_a_dry_run_refuses_what_training_refuses(
    more: list[str], tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(to_toml(tiny_config))
    line = ["train", "--config", "tiny.toml", *more]
    assert run([*line, "--dry-run"]) == run(line) == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["train --preset demo", "sample --checkpoint {run}"])
def test_an_empty_path_is_no_path(
    command: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.format(run=tiny_run).split(), "--out", ""]) == 2
    assert "Invalid value for '--out': the path is empty" in capsys.readouterr().err


def test_a_nul_character_in_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "a\0b"]) == 2
    assert "an argument holds a NUL character" in capsys.readouterr().err


def test_what_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    for ask in (lambda: find_checkpoint(tmp_path), lambda: RunFolder(tmp_path).description()):
        with pytest.raises(NotFoundError) as error:
            ask()
        assert error.value.exit_code == 2
    assert isinstance(error.value, CheckpointError)


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b'{"schema": ', b"\xff", b"[" * 100_000])
def test_damaged_records(content: bytes, tmp_path: Path) -> None:
    for name in ("x.json", "x.npz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.(json|npz)"):
            read_record(tmp_path / name)


def test_any_flipped_bit_of_an_archive_has_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_record(path, {"rates": torch.arange(8.0)})
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with contextlib.suppress(CheckpointError):
            read_record(path)


def test_samples_are_told_by_their_content(tmp_path: Path) -> None:
    images = np.zeros((2, 1, 8, 32), np.float32)
    for name in ("x.npy", "x.npz"):
        with (tmp_path / name).open("wb") as file:
            np.save(file, images)
        assert load_samples(tmp_path / name).images.shape == (2, 1, 8, 32)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY no")
    with pytest.raises(UsageError, match="cannot be read as an"):
        load_samples(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", images=images, sampler=np.array("[" * 100_000))
    with pytest.raises(UsageError, match="cannot be read as an"):
        load_samples(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("scheduler/scheduler_config.json", "clip_sample_range", [], r"clip_sample_range=\[\]"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", -1, "num_train_timesteps=-1"),
        ("scheduler/scheduler_config.json", "trained_betas", 3.0, "cannot be used|noise levels"),
        ("scheduler/scheduler_config.json", "beta_end", "x", "beta_end='x'"),
        ("unet/config.json", "quantization_config", {"quant_method": "x"}, "are quantised"),
        ("unet/config.json", "attention_head_dim", 99, "cannot be (loaded|called)"),
        ("unet/config.json", "block_out_channels", [0], "cannot be loaded"),
        ("unet/config.json", "sample_size", [1, 2, 3], "no size of images"),
        ("unet/config.json", "_class_name", ["UNet2DModel"], "holds a"),
    ],
)
def test_damaged_configurations_of_a_pipeline(
    file: str, key: str, value: Any, message: str, tmp_path: Path
) -> None:
    build_pixels(tmp_path)
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**content, key: value}))
    with pytest.raises(CheckpointError, match=message) as error:
        load_denoiser(tmp_path)
    assert "\n" not in str(error.value)


def test_a_patch_of_nothing_in_a_checkpoint(tiny_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(find_checkpoint(tiny_run).path, tmp_path / "step-000030")
    (folder / "SHA256SUMS").unlink()
    content = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**content, "patch": [0, 8]}))
    with pytest.raises(CheckpointError, match="a patch of 0×8 pixels does not divide"):
        load_denoiser(folder)
