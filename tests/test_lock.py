"""One writer at a time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffprobe.config import Config
from diffprobe.foundations.errors import InUseError
from diffprobe.foundations.lock import one_writer
from diffprobe.training import RunFolder, train

HOLD = """
import sys
from pathlib import Path
from diffprobe.foundations.lock import one_writer
with one_writer(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as holder:
        with pytest.raises(InUseError) as refused, one_writer(path, "runs/demo"):
            pass
        message = str(refused.value)
        assert f"runs/demo is being written by process {holder.pid} on {os.uname().nodename}" in (
            message
        )
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)
        assert f"(-c {path})" in message
        holder.kill()
    with one_writer(path, "runs/demo"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with one_writer(path, "it"):
        path.write_text("{")
        refused = pytest.raises(InUseError, match="it is being written by another process")
        with refused, one_writer(path, "it"):
            pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"), one_writer(tmp_path / "lock", "it"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_run_is_trained_by_one_process_at_a_time(tiny_config: Config, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with hold(run.path / "lock") as holder:
        with pytest.raises(InUseError, match=rf"run is being written by process {holder.pid}"):
            train(tiny_config, run.path, "cpu")
        assert sorted(p.name for p in run.path.iterdir()) == ["lock"]
        holder.kill()
    train(tiny_config, run.path, "cpu")
    # A finished run is only read.
    with hold(run.path / "lock") as holder:
        train(tiny_config, run.path, "cpu")
        holder.kill()


def test_a_folder_of_something_else_gets_no_lock(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(Exception, match="is not a run folder"):
        train(tiny_config, tmp_path, "cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
