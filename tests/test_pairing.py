import os
from pathlib import Path

import pytest
import torch

from diffprobe.cli.sources import find
from diffprobe.config import Config
from diffprobe.foundations.errors import CheckpointError
from diffprobe.foundations.records import write_record
from diffprobe.report.page import explorer
from diffprobe.report.pairing import probes_beside
from diffprobe.sampling import Samples, sample_checkpoint, samples_of


def planted(run: Path, *steps: int, weights: str = "ema") -> None:
    for step in steps:
        write_record(
            run / "probes" / f"step-{step:06d}" / "summary.json", {"step": step, "weights": weights}
        )


def test_probes_of_the_samples_own_step_stand_beside_them(tmp_path: Path) -> None:
    planted(tmp_path, 12, 60)
    found = probes_beside(tmp_path, 12, "ema")
    assert found.folder == tmp_path / "probes" / "step-000012"
    assert found.notes == ()
    assert found.details["probes"] == {"training_step": 12, "weights": "ema"}


def test_other_steps_and_weights_are_said(tmp_path: Path) -> None:
    assert probes_beside(tmp_path, 12, "ema").folder is None
    planted(tmp_path, 60)
    found = probes_beside(tmp_path, 12, "raw")
    assert found.folder == tmp_path / "probes" / "step-000060"
    assert "of step 12 and the figures of step 60" in found.notes[0]
    assert f"diffprobe probe {tmp_path}/checkpoints/step-000012" in found.notes[0]
    assert found.notes[1] == "The samples are of the weights raw and the figures of ema."
    assert "do not say which step" in probes_beside(tmp_path, None, None).notes[0]


def test_steps_are_numbers_and_not_text(tmp_path: Path) -> None:
    planted(tmp_path, 999_999, 1_000_000)
    (tmp_path / "probes" / "step-old").mkdir()
    assert probes_beside(tmp_path, 12, None).details["probes"]["training_step"] == 1_000_000
    for age, step in enumerate((1_000_000, 999_999, 12)):
        path = tmp_path / "samples" / f"step-{step:06d}_ema_ddim-4_n-8_seed-0.npz"
        Samples(torch.zeros(1, 1, 2, 2), {}).save(path)
        os.utime(path, (age, age))
    assert [path.name[:12] for path in samples_of(tmp_path)] == [
        "step-000012_",
        "step-999999_",
        "step-1000000",
    ]


def test_the_explorer_goes_through_steps_as_numbers(tmp_path: Path) -> None:
    for name in ("step-1000000", "step-999999", "step-000012", "step-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "locality.json").write_text("{}")
    names = [file.parent.name for file in explorer._by_step(tmp_path)]
    assert names == ["step-000012", "step-999999", "step-1000000"]


def test_of_one_step_the_newest_samples_are_taken(tmp_path: Path) -> None:
    for age, seed in enumerate((1, 0)):
        path = tmp_path / "samples" / f"step-000012_ema_ddim-4_n-8_seed-{seed}.npz"
        Samples(torch.zeros(1, 1, 2, 2), {}).save(path)
        os.utime(path, (age, age))
    assert samples_of(tmp_path)[-1].stem.endswith("seed-0")


def test_samples_name_their_step(tiny_run: Path, tiny_config: Config) -> None:
    step = tiny_run / "checkpoints" / "step-000030"
    made = sample_checkpoint(step, tiny_config, tiny_config.dataset())
    assert (made.sampler["training_step"], made.sampler["weights"]) == (30, "ema")


def test_a_folder_is_a_run_or_pictures(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run folder"):
        find(tmp_path)
