"""What test_processes.py has two processes do; each writes down what it met."""

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY
from torch import Tensor

from diffprobe.cli import run
from diffprobe.config import Config, to_toml
from diffprobe.experiment import run_experiment
from diffprobe.foundations.errors import DiffprobeError
from diffprobe.foundations.launch import is_main
from diffprobe.resolution import resolve
from diffprobe.training import loop, train

RANK = int(os.environ.get("RANK", "0"))


class EndedError(BaseException):
    """Stands for the signal by which torchrun ends the others when one fails."""


def ended(seconds: float) -> None:
    raise EndedError


def config(*changes: str) -> Config:
    return resolve(assignments=[*TINY, *changes])


def command(*arguments: str) -> dict[str, object]:
    """Run a command line, and return what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run([*arguments])
        except EndedError:
            code = -signal.SIGTERM
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def error_of(act: Callable[[], object]) -> dict[str, object]:
    try:
        act()
    except DiffprobeError as error:
        kind = type(error).__name__
        return {"error": kind, "message": str(error), "code": error.exit_code}
    return {"error": None}


@contextlib.contextmanager
def second_process(step: int, act: Callable[[loop.Trainer, Tensor], Tensor]) -> Iterator[None]:
    """Let something happen to the second process alone, behind a step."""
    original = loop.Trainer._step

    def changed(self: loop.Trainer, at: int) -> Tensor:
        loss = original(self, at)
        return act(self, loss) if at == step and RANK == 1 else loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", changed)
        yield


def signalled(trainer: loop.Trainer, loss: Tensor) -> Tensor:
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)  # torchrun's, behind the scheduler's
    return loss


@torch.no_grad()
def nudged(trainer: loop.Trainer, loss: Tensor) -> Tensor:
    weight = trainer.weights[0].view(-1)[0]
    weight.copy_(weight.nextafter(weight + 1))
    return loss


def not_finite(trainer: loop.Trainer, loss: Tensor) -> Tensor:
    return loss * float("nan")


def gone(trainer: loop.Trainer, loss: Tensor) -> Tensor:
    os._exit(0)


def main(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    file = folder / "tiny.toml"
    file.write_text(to_toml(config())) if is_main() else None
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    two = ["--config", str(file), "--out", str(folder / "two"), "--log-with", "tensorboard"]
    yield "train", command("train", *two)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffprobe.cli.time.sleep", ended)
        yield "sample", command("sample", str(folder / "two"))
    if RANK == 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("diffprobe.cli.PATIENCE", 0.0)
            yield "alone", command("sample", str(folder / "two"))
    yield "experiment", error_of(lambda: run_experiment(config(), out=folder / "experiment"))
    yield "resumed", error_of(lambda: train(config(), folder / "resumed", "cpu", False))
    bf16 = config("training.mixed_precision='bf16'", "training.steps=10")
    yield "bf16", error_of(lambda: train(bf16, folder / "bf16", "cpu", False))
    for name in ("stopped", "stopped-2"):
        with second_process(12, signalled):
            yield name, error_of(lambda name=name: train(config(), folder / name, "cpu", False))
    yield "goes on", error_of(lambda: train(config(), folder / "stopped-2", "cpu", False))
    with second_process(12, nudged):
        yield "unequal", error_of(lambda: train(config(), folder / "unequal", "cpu", False))
    with second_process(12, not_finite):
        yield "not finite", error_of(lambda: train(config(), folder / "nan", "cpu", False))
    (folder / "thesis").mkdir(exist_ok=True)
    (folder / "thesis" / "thesis.tex").touch()
    yield "no place", error_of(lambda: train(config(), folder / "thesis", "cpu", False))
    odd = config("training.batch_size=15")
    yield "odd", error_of(lambda: train(odd, folder / "odd", "cpu", False))
    yield "device", error_of(lambda: train(config(), folder / "device", "cpu:0", False))
    penalised = replace(config(), objective=replace(config().objective, from_product=0.1))
    yield "penalty", error_of(lambda: train(penalised, folder / "penalty", "cpu", False))
    with second_process(12, gone):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, to those that are left
        yield "gone", error_of(lambda: train(config(), folder / "gone", "cpu", False))


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    for name, met in main(place):
        with (place / f"met-{RANK}.jsonl").open("a") as lines:
            lines.write(json.dumps([name, met]) + "\n")
