import contextlib
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffprobe.foundations.atomic import (
    OLD,
    _host,
    append,
    atomic_file,
    atomic_folder,
    remove_partials,
    scratch_folder,
    write_text,
)
from diffprobe.foundations.errors import DiffprobeError


def write_to_a_full_disk() -> None:
    """Get the operating system's own error."""
    with Path("/dev/full").open("w") as full:
        full.write("x")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with atomic_folder(target) as partial:
        (partial / "file").write_text("1")
        assert not target.exists()
    assert names(target) == ["file"]
    with pytest.raises(DiffprobeError, match="target is there already"), atomic_folder(target):
        pass
    assert names(target) == ["file"]
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_leaves_the_old_content(tmp_path: Path, error: BaseException) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    write_text(file, "kept")
    with contextlib.suppress(type(error)), atomic_folder(folder) as partial:
        (partial / "new").write_text("lost")
        raise error
    with contextlib.suppress(type(error)), atomic_file(file) as partial:
        partial.write_text("lost")
        raise error
    assert names(tmp_path) == ["file"]
    assert file.read_text() == "kept"


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    write_text(file, "kept")
    message = r"the disk is full: .*{} could not be written"
    with pytest.raises(DiffprobeError, match=message.format("file")), atomic_file(file):
        write_to_a_full_disk()
    with pytest.raises(DiffprobeError, match=message.format("folder")), atomic_folder(folder):
        # As safetensors words it.
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert names(tmp_path) == ["file"]
    assert file.read_text() == "kept"


def test_other_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_file(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied")


def leftover(name: str, owner: int, host: str = _host()) -> str:
    return f".partial-{host}-{owner}-01234567-{name}"


@pytest.fixture
def dead() -> int:
    """A process that was."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path, dead: int) -> None:
    (tmp_path / "checkpoints" / leftover("step-000010", dead) / "unet").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-000005").mkdir()
    (tmp_path / leftover("metrics.jsonl", dead)).write_text("half")
    remove_partials(tmp_path)
    assert names(tmp_path) == ["checkpoints"]
    assert names(tmp_path / "checkpoints") == ["step-000005"]


def test_who_writes_next_cleans_up(tmp_path: Path, dead: int) -> None:
    """As after a killed `sample` or `report` of a run that is finished and never trained again."""
    ours = leftover("b", os.getpid())
    for place in ("samples", "report", "probes"):
        (tmp_path / place / leftover("a", dead)).mkdir(parents=True)
        (tmp_path / place / ours).mkdir()
    write_text(tmp_path / "samples" / "file", "whole")
    with atomic_folder(tmp_path / "report" / "folder"):
        pass
    with scratch_folder(tmp_path / "probes") as drawn:
        (drawn / "figure").write_text("drawn")
        (drawn / "figure").rename(tmp_path / "probes" / "figure")
        assert len(names(tmp_path / "probes")) == 3
    assert names(tmp_path / "samples") == [ours, "file"]
    assert names(tmp_path / "report") == [ours, "folder"]
    assert names(tmp_path / "probes") == [ours, "figure"]


def test_what_a_living_process_may_be_writing_stays(tmp_path: Path, dead: int) -> None:
    ours, theirs = leftover("a", os.getpid()), leftover("b", dead, "0badcafe")
    strange = ".partial-c"
    for name in (ours, theirs, strange):
        (tmp_path / name).write_text("half")
    remove_partials(tmp_path)
    assert names(tmp_path) == sorted([ours, theirs, strange])
    for name in (ours, theirs, strange):
        os.utime(tmp_path / name, (0, time.time() - OLD - 1))
    remove_partials(tmp_path)
    assert names(tmp_path) == [ours]


def test_two_writers_share_no_partial_file(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as one, atomic_file(tmp_path / "file") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "one"  # the last to end


def test_links_are_neither_followed_nor_spared(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    (precious / "file").write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / leftover("to-file", dead)).symlink_to(precious / "file")
    (run / leftover("to-folder", dead)).symlink_to(precious)
    (run / leftover("to-nothing", dead)).symlink_to(tmp_path / "nothing")
    remove_partials(run)
    assert names(run) == []
    # Not even where somebody guessed the name of a partial file.
    monkeypatch.setattr("secrets.token_hex", lambda _: "01234567")
    (run / leftover("metrics.jsonl", os.getpid())).symlink_to(precious / "file")
    with pytest.raises(FileExistsError):
        write_text(run / "metrics.jsonl", "overwritten")
    assert (precious / "file").read_text() == "precious"
    assert names(precious) == ["deep", "file"]


def test_an_append_to_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(DiffprobeError, match=r"the disk is full: .*full could not be written"):
        append(tmp_path / "full", b"x")
