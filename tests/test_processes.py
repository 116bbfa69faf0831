"""Two processes that train one network, started by torchrun."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffprobe.config import Config
from diffprobe.foundations.errors import InterruptedRunError
from diffprobe.foundations.signals import exit_code
from diffprobe.training import RunFolder, loop, train

TOGETHER = Path(__file__).with_name("together.py")


class SuddenEndError(Exception):
    """Stands for any sudden end."""


@pytest.fixture(scope="module")
def place(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have been."""
    folder = tmp_path_factory.mktemp("together")
    original = loop.Trainer._step

    def failing(self: loop.Trainer, at: int) -> torch.Tensor:
        if at == 17:
            raise SuddenEndError
        return original(self, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", failing)
        with pytest.raises(SuddenEndError):
            train(tiny_config, folder / "resumed", "cpu")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run(
        [*command, str(TOGETHER), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return folder


@pytest.fixture(scope="module")
def met(place: Path) -> dict[str, list[Any]]:
    """What was done -> what each process met."""
    told = [
        dict(map(json.loads, (place / f"met-{rank}.jsonl").read_text().splitlines()))
        for rank in range(2)
    ]
    return {name: [each.get(name) for each in told] for name in told[0] | told[1]}


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted(run.glob("checkpoints/*/*/*.safetensors"))
    assert files
    return {
        f"{file.relative_to(run)}:{name}": tensor
        for file in files
        for name, tensor in load_file(file).items()
    }


def assert_close(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)
    losses = [RunFolder(run).losses() for run in (one, other)]
    assert len(losses[0]) == len(losses[1]) == 30
    np.testing.assert_allclose(*losses, rtol=1e-5)
    told = [RunFolder(run).metrics() for run in (one, other)]
    assert [line["step"] for line in told[0]] == [line["step"] for line in told[1]] == [10, 20, 30]
    for lines in zip(*told, strict=True):
        np.testing.assert_allclose(*(line["validation_loss"] for line in lines), rtol=1e-5)


def test_two_processes_train_as_one_does(met: Any, place: Path, tiny_run: Path) -> None:
    assert [each["code"] for each in met["train"]] == [0, 0]
    assert_close(place / "two", tiny_run)
    assert RunFolder(place / "two").description()["processes"] == 2


def test_one_process_speaks(met: Any) -> None:
    first, second = met["train"]
    assert "finished, step 30 of 30" in first["out"]
    begun, world, *_ = first["err"].splitlines()
    assert begun.startswith("training ")
    assert world.startswith("world: parity")
    assert second == {"code": 0, "out": "", "err": ""}


def test_one_process_tells_the_trackers(met: Any, place: Path) -> None:
    logs = place / "two" / "logs" / "diffprobe"
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1
    assert len(list(logs.glob("*/hparams.yml"))) == 1


def test_what_works_in_one_process_is_refused(met: Any) -> None:
    first, second = met["sample"]
    assert first["code"] == 2
    assert "sample works in one process, and 2 were started" in first["err"]
    assert second == {"code": -signal.SIGTERM, "out": "", "err": ""}
    for each in met["experiment"]:
        assert "an experiment works in one process" in each["message"]


def test_who_fails_and_is_left_alone_with_it_says_so(met: Any) -> None:
    _, second = met["alone"]
    assert "sample works in one process" in second["err"]


def test_two_go_on_where_one_stopped(met: Any, place: Path, tiny_run: Path) -> None:
    assert met["resumed"] == [{"error": None}] * 2
    assert_close(place / "resumed", tiny_run)


def test_bf16(met: Any, place: Path) -> None:
    assert met["bf16"] == [{"error": None}] * 2
    (line,) = RunFolder(place / "bf16").metrics()
    assert line["loss"] < 1.1


def test_a_signal_to_one_stops_all_at_the_same_step(
    met: Any,
    place: Path,
    tiny_config: Config,
    tiny_run: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:

    for each in met["stopped"]:
        assert each["error"] == InterruptedRunError.__name__
        assert each["code"] == exit_code(signal.SIGUSR1) == 138
        assert "stopped at step 13 of 30" in each["message"]
    assert RunFolder(place / "stopped").steps_done() == 13
    assert met["goes on"] == [{"error": None}] * 2
    two, again = weights(place / "two"), weights(place / "stopped-2")
    assert all(torch.equal(two[key], again[key]) for key in two)
    with caplog.at_level(logging.WARNING, "diffprobe"):
        train(tiny_config, place / "stopped", "cpu")
    assert "begun with processes 2 and goes on with 1" in caplog.text
    assert_close(place / "stopped", tiny_run)


def test_weights_that_differ_in_a_bit_are_found(met: Any, place: Path) -> None:
    for each in met["unequal"]:
        assert each["error"] == "ProcessError"
        assert "process 1 has other weights after step 20 than process 0" in each["message"]
    assert RunFolder(place / "unequal").steps_done() == 10


def test_a_loss_that_is_not_finite_in_one_stops_all(met: Any) -> None:
    for each in met["not finite"]:
        assert each["error"] == "NonFiniteLossError"
        assert "the loss of step 13 is nan" in each["message"]


def test_what_fails_in_one_fails_in_all(met: Any, place: Path) -> None:
    first, second = met["no place"]
    assert first["error"] == "UsageError"
    assert second == {**first, "error": "ProcessError", "message": f"process 0: {first['message']}"}
    assert [p.name for p in (place / "thesis").iterdir() if p.name != "lock"] == ["thesis.tex"]


def test_what_cannot_be_divided_is_refused(met: Any) -> None:
    for each in met["odd"]:
        assert "training.batch_size=15 is the batch of all processes" in each["message"]
    for each in met["device"]:
        assert "device 'cpu:0' is one, and 2 processes take one each" in each["message"]
    for each in met["penalty"]:
        assert "a penalty of the objective is not the mean" in each["message"]


def test_who_loses_the_other_says_so(met: Any, place: Path) -> None:
    left, gone = met["gone"]
    assert gone is None
    assert left["error"] == "ProcessError"
    assert "another process of this training ended" in left["message"]
    assert RunFolder(place / "gone").steps_done() == 10
