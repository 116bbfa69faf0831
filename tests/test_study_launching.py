"""Where cells are worked on: processes that die, drivers that stop, jobs that are preempted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffprobe.foundations.errors import UsageError
from diffprobe.studies.cells import Cell
from diffprobe.studies.grid import grid_of
from diffprobe.studies.launching.cluster import cluster
from diffprobe.studies.launching.workers import _Worker, workers
from diffprobe.studies.study import Study

GRID = """
question = "Does it go on?"
base = "hypercube-mlp"
seeds = {seeds}
measures = ["loss"]

[fixed]
"grammar.length" = 4
"images.grid" = [2, 2]
"network.width" = 8
"training.steps" = {steps}
"training.batch_size" = 8
"training.checkpoints" = 2
"training.validation_size" = 8
"training.save_every" = {steps}
"training.log_every" = {steps}
"""
SHORT, LONG = 6, 20_000


@pytest.fixture
def cells() -> list[Cell]:
    import tomllib

    grid = grid_of(tomllib.loads(GRID.format(seeds=2, steps=SHORT)))
    return Study("mine", "", {1: grid}, "").cells()


def begin(
    folder: Path, *options: str, steps: int = LONG, seeds: int = 1
) -> "subprocess.Popen[str]":
    (folder / "mine.toml").write_text(GRID.format(seeds=seeds, steps=steps))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "diffprobe",
            "study",
            "run",
            "mine.toml",
            "--device",
            "cpu",
            *options,
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def training(folder: Path) -> Path | None:
    """The run of a cell that is training by now."""
    return next((path.parent for path in folder.glob("runs/cells/*/config.json")), None)


def steps_done(run: Path) -> int:
    from diffprobe.training.run_folder import RunFolder

    return RunFolder(run).steps_done()


def test_ctrl_c_saves_what_its_processes_have_done(tmp_path: Path) -> None:
    """With workers: the driver alone is told, and tells its processes."""
    driver = begin(tmp_path, "--workers", "1")
    run = until(lambda: driver.poll() is not None or training(tmp_path))
    assert driver.poll() is None, driver.communicate()
    time.sleep(1)
    driver.send_signal(signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130, told
    assert "the same command goes on from there" in told
    saved = steps_done(run)
    assert 0 < saved < LONG
    cells = json.loads((tmp_path / "runs" / "studies" / "mine" / "cells.json").read_text())
    assert [each["outcome"] for each in cells["cells"]] == [None]


def test_a_process_that_dies_costs_its_own_cells(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    begin_job = _Worker.begin

    def kill_the_first(self: _Worker, *rest: Any) -> None:
        begin_job(self, *rest)
        if not killed:
            killed.append(self.process.pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(_Worker, "begin", kill_the_first)
    found = list(workers(1)([[cells[0]], [cells[1]]], tmp_path, "cpu"))
    assert [outcome.cell for outcome in found] == [cell.name for cell in cells]
    assert found[0].error == "its process ended by signal SIGKILL: was there too little memory?"
    assert found[1].error == ""
    assert found[1].numbers[0]["value"] > 0


def test_a_preempted_job_saves_and_is_queued_again(tmp_path: Path) -> None:
    """submitit's signal of preemption, to a job in the middle of a training."""
    driver = begin(tmp_path, "--cluster", "local", steps=6000)
    run = until(lambda: driver.poll() is not None or training(tmp_path))
    assert driver.poll() is None, driver.communicate()
    time.sleep(0.3)
    log = next((tmp_path / "runs" / "studies" / "mine" / "jobs").glob("*_0_log.err"))
    (job,) = _children(int(log.name.partition("_")[0]))
    os.kill(job, signal.SIGUSR2)
    saved = until(lambda: steps_done(run))
    assert 0 < saved < 6000
    out, told = driver.communicate(timeout=120)
    assert driver.returncode == 0, out + told
    assert "this job is preempted" in log.read_text()
    assert steps_done(run) == 6000


def _children(parent: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(parent).children()]


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown cluster 'slrum': did you mean 'slurm'"):
        cluster("slrum", tmp_path, {})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no Slurm here: sbatch is not on the PATH"):
        cluster("slurm", tmp_path, {})
    with pytest.raises(UsageError, match="--cluster-set: "):
        list(cluster("local", tmp_path, {"tiemout": 3})([], tmp_path, "cpu"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[cluster\]'"):
        cluster("local", tmp_path, {})
