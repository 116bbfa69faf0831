import contextlib
import errno
from pathlib import Path

import pytest

from diffprobe.foundations.atomic import atomic_file, atomic_folder, remove_partials, write_text
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
    with atomic_folder(target) as partial:
        (partial / "other").write_text("2")
    assert names(target) == ["other"]
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_leaves_the_old_content(tmp_path: Path, error: BaseException) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "old").write_text("kept")
    write_text(file, "kept")
    with contextlib.suppress(type(error)), atomic_folder(folder) as partial:
        (partial / "new").write_text("lost")
        raise error
    with contextlib.suppress(type(error)), atomic_file(file) as partial:
        partial.write_text("lost")
        raise error
    assert names(tmp_path) == ["file", "folder"]
    assert names(folder) == ["old"]
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


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".partial-step-000010").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-000005").mkdir()
    (tmp_path / ".partial-metrics.jsonl").write_text("half")
    remove_partials(tmp_path)
    assert names(tmp_path) == ["checkpoints"]
    assert names(tmp_path / "checkpoints") == ["step-000005"]


def test_what_stepped_aside_for_nothing_comes_back(tmp_path: Path) -> None:
    """A kill between the two renames of a replacement."""
    (tmp_path / "runs" / ".partial-old-state").mkdir(parents=True)
    (tmp_path / "runs" / ".partial-old-state" / "file").write_text("before")
    (tmp_path / "runs" / ".partial-state").mkdir()
    remove_partials(tmp_path)
    assert names(tmp_path / "runs") == ["state"]
    assert (tmp_path / "runs" / "state" / "file").read_text() == "before"
    # Where the new one is there, the old one is not wanted.
    (tmp_path / "runs" / ".partial-old-state").mkdir()
    remove_partials(tmp_path)
    assert (tmp_path / "runs" / "state" / "file").exists()
    assert names(tmp_path / "runs") == ["state"]
