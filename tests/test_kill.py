"""Training ends at every single call to the file system, and goes on without a loss.

A kill is played in the process itself: from the n-th call on, every call that would change the
run's folder raises, those of clean-ups included.
"""

import errno
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffprobe.config import Config
from diffprobe.foundations.errors import DiffprobeError
from diffprobe.models.networks.mlp import MLPConfig
from diffprobe.training import RunFolder, loop, state, train
from diffprobe.training.learning_rates.constant import ConstantConfig

WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
GROWS = {"open", "os.mkdir"}  # what a full disk refuses


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it to go on."""


class Calls:
    """Counts the calls that write below a folder, and lets those after a number fail."""

    def __init__(self) -> None:
        self.below, self.count, self.left = "", 0, -1
        self.fail: Callable[[str], None] = lambda event: None
        sys.addaudithook(self._look)  # there is no way to take it off again

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.below or event not in WRITES or self.below not in str(arguments[0]):
            return
        if event == "open":
            mode, flags = arguments[1], arguments[2] or 0
            if not (set(mode or "") & set("wax+") or flags & 0o3):
                return
        self.count += 1
        if self.left >= 0 and self.count > self.left:
            self.fail(event)


CALLS = Calls()


@pytest.fixture
def config(tiny_config: Config) -> Config:
    return four_steps(tiny_config)


def four_steps(config: Config) -> Config:
    training = replace(
        config.training,
        steps=4,
        save_every=2,
        log_every=2,
        checkpoints=2,
        batch_size=4,
        validation_size=8,
        keep_states=(3,),
    )
    return replace(
        config,
        network=MLPConfig(width=8),
        learning_rate=ConstantConfig(),
        training=training,
    )


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return watching(monkeypatch)


def watching(patch: pytest.MonkeyPatch) -> Calls:
    """Count safetensors' writing too, which Python does not see: before and behind it."""

    def save_file(tensors: Any, path: Path, metadata: Any) -> None:
        sys.audit("open", str(path), "w", 0)
        original(tensors, path, metadata)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        path.write_bytes(whole)

    original = state.save_file
    patch.setattr(state, "save_file", save_file)
    return CALLS


def go_on(config: Config, folder: Path, calls: Calls, left: int = -1) -> int:
    calls.below, calls.count, calls.left = str(folder), 0, left
    try:
        train(config, folder, "cpu")
    finally:
        calls.below = ""
    return calls.count


def halfway(config: Config, folder: Path) -> None:
    """A run that was killed in its fourth step."""

    def killed(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == 3:
            raise KilledError
        return original(self, at)

    original = loop.Trainer._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", killed)
        with pytest.raises(KilledError):
            train(config, folder, "cpu")


def kill(event: str) -> None:
    raise KilledError


def fill(event: str) -> None:
    if event in GROWS:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fail", "expected"), [(kill, KilledError), (fill, DiffprobeError)], ids=["killed", "full"]
)
def test_whichever_call_is_the_last_nothing_is_lost(
    fail: Callable[[str], None],
    expected: type[BaseException],
    config: Config,
    watched: Calls,
    tmp_path: Path,
) -> None:
    assert end_at_every_call(config, fail, expected, watched, tmp_path) > 30


def end_at_every_call(
    config: Config,
    fail: Callable[[str], None],
    expected: type[BaseException],
    calls: Calls,
    place: Path,
) -> int:
    """Let a training end at each of its calls in turn, and return how many there are."""
    whole = train(config, place / "whole", "cpu")
    halfway(config, place / "half")
    assert RunFolder(place / "half").steps_done() == 3
    shutil.copytree(place / "half", place / "counted")
    count = go_on(config, place / "counted", calls)
    calls.fail = fail
    for last in range(count):
        folder = place / f"run{last}"
        shutil.copytree(place / "half", folder)
        try:
            go_on(config, folder, calls, last)
        except expected:
            pass
        else:
            # Only what is not made new does a full disk let through.
            assert fail is fill
        assert RunFolder(folder).steps_done() in (3, 4), last
        again = train(config, folder, "cpu")
        assert_same(again, whole)
        shutil.rmtree(folder)
    return count


def assert_same(one: RunFolder, other: RunFolder) -> None:
    files = [p.relative_to(other.path) for p in other.path.glob("checkpoints/*/*/*.safetensors")]
    assert len(files) == 2 * other.config().training.checkpoints
    for file in files:
        a, b = load_file(one.path / file), load_file(other.path / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert [{**m, "seconds": 0} for m in one.metrics()] == [
        {**m, "seconds": 0} for m in other.metrics()
    ]
    assert np.array_equal(one.losses(), other.losses())


def test_a_first_training_killed_at_any_call_begins_again(
    config: Config, watched: Calls, tmp_path: Path
) -> None:
    """Before its config.json is there, too."""
    watched.fail = kill
    for last in range(8):
        with pytest.raises(KilledError):
            go_on(config, tmp_path / f"run{last}", watched, last)
        assert train(config, tmp_path / f"run{last}", "cpu").steps_done() == 4
